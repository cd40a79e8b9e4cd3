// The bill of materials: well-formed CycloneDX, the same at every time, and of exactly the packages that npm installs without
// those for development. (`npm sbom --omit=dev` of npm 11 leaves out most of what fastify needs, so npm is asked by `npm ls`.)
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ownSbom, sbom } from '../sbom.ts';

const root = join(import.meta.dirname, '..');
const run = promisify(execFile);

const License = z.strictObject({
  license: z.union([z.strictObject({ id: z.string() }), z.strictObject({ name: z.string() })]),
});
const Component = z.strictObject({
  type: z.enum(['application', 'library']),
  'bom-ref': z.string().min(1),
  name: z.string().min(1),
  version: z.string().regex(/^\d+\.\d+\.\d+/),
  scope: z.enum(['required', 'optional']),
  hashes: z
    .array(
      z.strictObject({
        alg: z.enum(['SHA-1', 'SHA-512']),
        content: z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{128})$/),
      }),
    )
    .optional(),
  licenses: z
    .array(z.union([License, z.strictObject({ expression: z.string() })]))
    .max(1)
    .optional(),
  purl: z.string().regex(/^pkg:npm\/(%40[a-z0-9.-]+\/)?[a-zA-Z0-9._-]+@\S+$/),
});
/** The part of CycloneDX 1.6 (ECMA-424) that is used, with nothing beside it. */
const Bom = z.strictObject({
  $schema: z.literal('http://cyclonedx.org/schema/bom-1.6.schema.json'),
  bomFormat: z.literal('CycloneDX'),
  specVersion: z.literal('1.6'),
  serialNumber: z.string().regex(/^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
  version: z.literal(1),
  metadata: z.strictObject({
    lifecycles: z.tuple([z.strictObject({ phase: z.literal('pre-build') })]),
    component: Component,
  }),
  components: z.array(Component),
  dependencies: z.array(z.strictObject({ ref: z.string(), dependsOn: z.array(z.string()) })),
});

const bom = Bom.parse(JSON.parse(ownSbom()));
const refs = bom.components.map((component) => component['bom-ref']);

describe('the bill of materials', () => {
  it('is of this program, and the same whenever it is made', () => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(bom.metadata.component).toMatchObject({
      type: 'application',
      name,
      version,
      licenses: [{ license: { id: license } }],
    });
    expect(ownSbom()).toBe(ownSbom());
    expect(ownSbom()).not.toContain(root);
  });

  it('names each package once, and nothing that it does not have', () => {
    expect(new Set(refs).size).toBe(refs.length);
    const all = new Set([...refs, bom.metadata.component['bom-ref']]);
    expect(new Set(bom.dependencies.map(({ ref }) => ref))).toEqual(all);
    for (const { dependsOn } of bom.dependencies) for (const ref of dependsOn) expect(all).toContain(ref);
  });

  it('depends on what package.json says, and everything is reached from there', () => {
    const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const edges = new Map(bom.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
    const own = bom.metadata.component['bom-ref'];
    const direct = Object.entries({ ...dependencies, ...optionalDependencies }).map(([name, at]) => `${name}@${at}`);
    expect(edges.get(own)).toEqual(direct.toSorted());
    const reached = new Set([own]);
    for (const ref of reached) for (const next of edges.get(ref)!) reached.add(next);
    expect([...refs].filter((ref) => !reached.has(ref))).toEqual([]);
  });

  it('has a hash of everything that every machine installs', () => {
    const without = bom.components.filter(({ hashes }) => hashes === undefined);
    expect(without.filter(({ scope }) => scope === 'required')).toEqual([]);
  });

  it('has what npm installs without packages for development', { timeout: 120_000 }, async () => {
    const args = ['ls', '--package-lock-only', '--omit=dev', '--all', '--parseable', '--long'];
    const { stdout } = await run('npm', args, { cwd: root, maxBuffer: 2 ** 24 });
    const [own, ...others] = stdout
      .trim()
      .split('\n')
      .map((line) => line.slice(line.indexOf(':') + 1).split(':')[0]!);
    expect(own).toBe(bom.metadata.component['bom-ref']);
    expect([...new Set(others)].toSorted()).toEqual(refs.toSorted());
  });
});

describe('of a lock', () => {
  const made = (packages: object) => Bom.parse(sbom(JSON.stringify({ lockfileVersion: 3, packages })));
  const project = { name: 'p', version: '1.0.0', dependencies: { a: '1', b: '1' } };

  it('finds the version that Node would, beside a package before above it', () => {
    const { dependencies, components } = made({
      '': project,
      'node_modules/a': { version: '1.0.0', dependencies: { b: '2' } },
      'node_modules/a/node_modules/b': {
        version: '2.0.0',
        peerDependencies: { missing: '1' },
        license: '(MIT OR ISC)',
      },
      'node_modules/b': { version: '1.0.0', license: 'MPL 2.0' },
      'node_modules/@s/c': { version: '3.0.0', dev: true },
    });
    expect(dependencies).toEqual([
      { ref: 'a@1.0.0', dependsOn: ['b@2.0.0'] },
      { ref: 'b@1.0.0', dependsOn: [] },
      { ref: 'b@2.0.0', dependsOn: [] },
      { ref: 'p@1.0.0', dependsOn: ['a@1.0.0', 'b@1.0.0'] },
    ]);
    expect(components.map(({ licenses }) => licenses?.[0])).toEqual([
      undefined,
      { license: { name: 'MPL 2.0' } },
      { expression: '(MIT OR ISC)' },
    ]);
  });

  it('refuses one of another form', () => {
    expect(() => sbom(JSON.stringify({ lockfileVersion: 1, dependencies: {} }))).toThrow();
  });
});

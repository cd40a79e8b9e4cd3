// `npm run sbom`: what the package is made of, as a CycloneDX document on standard output, from the lock file alone. build.ts puts
// it into the package too. The same lock gives the same bytes, so that anybody can make it again: no time, no chance, no machine
// is in it. (`npm sbom` has all three, calls the project by its folder, and with --omit=dev leaves out most of what fastify needs.)
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const Entry = z.object({
  name: z.string().optional(),
  version: z.string(),
  license: z.string().optional(),
  integrity: z.string().optional(),
  dev: z.boolean().default(false),
  optional: z.boolean().default(false),
  dependencies: z.record(z.string(), z.string()).default({}),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
  peerDependencies: z.record(z.string(), z.string()).default({}),
});
type Entry = z.output<typeof Entry>;
/** `lockfileVersion` 3 of npm: packages by where they lie, the project at the empty path. */
const Lock = z.object({ lockfileVersion: z.literal(3), packages: z.record(z.string(), Entry) });

/** SPDX identifiers, one or in an expression; what is none stays a name. */
const SPDX = /^[A-Za-z0-9.+-]+$/;
const EXPRESSION = /^\(?[A-Za-z0-9.+-]+(?: (?:OR|AND) [A-Za-z0-9.+-]+)+\)?$/;

/** @param lock  text of package-lock.json */
export function sbom(lock: string): object {
  const { packages } = Lock.parse(JSON.parse(lock));
  const shipped = Object.entries(packages).filter(([, { dev }]) => !dev);
  const refs = new Map(shipped.map(([path, entry]) => [path, `${nameOf(path, entry)}@${entry.version}`]));
  const edges = new Map<string, Set<string>>();
  for (const [path, entry] of shipped) {
    // A version that lies in two places may find others beside it there: both are told.
    const found = edges.get(refs.get(path)!) ?? new Set();
    for (const name of wanted(entry)) {
      const target = refs.get(lookUp(path, name, packages) ?? '-');
      if (target !== undefined) found.add(target);
    }
    edges.set(refs.get(path)!, found);
  }
  const [, project] = shipped.find(([path]) => path === '')!;
  const others = new Map(
    shipped.filter(([path]) => path !== '').map(([path, entry]) => [refs.get(path)!, [path, entry]] as const),
  );
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${uuid(lock)}`,
    version: 1,
    metadata: { lifecycles: [{ phase: 'pre-build' }], component: { ...component('', project), type: 'application' } },
    components: [...others].toSorted(byName).map(([, [path, entry]]) => component(path, entry)),
    dependencies: [...edges].toSorted(byName).map(([ref, on]) => ({ ref, dependsOn: [...on].toSorted() })),
  };
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => (a < b ? -1 : 1);

function nameOf(path: string, { name }: Entry): string {
  return name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}

/** A peer is wanted where it lies somewhere; where it doesn't, it was optional, or npm would have refused. */
function wanted({ dependencies, optionalDependencies, peerDependencies }: Entry): Set<string> {
  return new Set([dependencies, optionalDependencies, peerDependencies].flatMap(Object.keys));
}

/** As Node finds a package: in the own node_modules, then in that of each package around it. */
function lookUp(from: string, name: string, packages: Readonly<Record<string, unknown>>): string | undefined {
  const parts = from === '' ? [] : from.split(/(?:^|\/)node_modules\//).slice(1);
  for (let depth = parts.length; depth >= 0; depth--) {
    const path = [...parts.slice(0, depth), name].map((part) => `node_modules/${part}`).join('/');
    if (packages[path] !== undefined) return path;
  }
  return undefined;
}

function component(path: string, entry: Entry): object {
  const name = nameOf(path, entry);
  const { version, license, integrity, optional } = entry;
  return {
    type: 'library',
    'bom-ref': `${name}@${version}`,
    name,
    version,
    scope: optional ? 'optional' : 'required',
    ...(integrity !== undefined && { hashes: hashes(integrity) }),
    ...(license !== undefined && { licenses: [licensed(license)] }),
    // The purl of a scope has its @ escaped.
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
  };
}

function licensed(license: string): object {
  if (EXPRESSION.test(license)) return { expression: license };
  return { license: SPDX.test(license) ? { id: license } : { name: license } };
}

/** Subresource integrity in CycloneDX' spelling. */
function hashes(integrity: string): object[] {
  return integrity.split(' ').map((each) => {
    const [, bits, digest] = /^sha(\d+)-(.*)$/.exec(each)!;
    return { alg: bits === '1' ? 'SHA-1' : `SHA-${bits}`, content: Buffer.from(digest!, 'base64').toString('hex') };
  });
}

/** RFC 9562 §5.8: a UUID of one's own making, here of the lock's digest. */
function uuid(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Of this checkout. */
export function ownSbom(): string {
  return `${JSON.stringify(sbom(readFileSync(new URL('package-lock.json', import.meta.url), 'utf8')), null, 2)}\n`;
}

if (import.meta.main) process.stdout.write(ownSbom());

// `aegisd deploy`: from settings, or from a phala.toml, to the files of a deployment: a container image and an app for dstack, or what
// systemd needs. It starts, builds and sends nothing, and refuses settings that would not start where they are to go.
import { ConfigError, issueText } from '../../config/error.ts';
import { ROLES, type Role } from '../api/token.ts';
import { writeBundle } from '../deploy/bundle.ts';
import { dstackBundle } from '../deploy/dstack.ts';
import { type Bundle, type Plan, planned, plannedFromPhala } from '../deploy/plan.ts';
import { systemdBundle } from '../deploy/systemd.ts';
import type { Target } from '../deploy/target.ts';
import { EXIT, VERSION } from './program.ts';

export interface DeployOptions {
  readonly target: Target;
  readonly out: string;
  readonly config?: string;
  readonly from?: string;
  readonly acceptRefused?: boolean;
  readonly base?: string;
  readonly image?: string;
  readonly name: string;
  readonly token?: readonly Role[];
  readonly successorOf?: string;
  readonly json?: boolean;
}

export async function deploy(options: DeployOptions): Promise<number> {
  try {
    const plan = planOf(options);
    const bundle = bundleOf(plan, options);
    if (!writeBundle(options.out, bundle.files)) {
      const message = 'is there already, and is left as it is';
      throw new ConfigError([{ file: options.out, line: 0, column: 0, key: '', message }]);
    }
    process.stdout.write(options.json === true ? document(plan, bundle, options) : said(plan, bundle, options));
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (options.json === true) process.stdout.write(`${JSON.stringify({ ok: false, issues: error.issues })}\n`);
    else process.stderr.write(`${error.issues.map(issueText).join('\n')}\n${hint(options)}`);
    return EXIT.refused;
  }
}

function planOf({ target, config, from, acceptRefused }: DeployOptions): Plan {
  if (from === undefined) return planned(target, config);
  return plannedFromPhala(target, from, acceptRefused === true);
}

function bundleOf(plan: Plan, { target, name, base, image, token, successorOf }: DeployOptions): Bundle {
  if (target === 'systemd') return systemdBundle(plan, VERSION);
  const tokens = ROLES.filter((role) => token?.includes(role));
  const given = {
    ...(base !== undefined && { base }),
    ...(image !== undefined && { image }),
    ...(successorOf !== undefined && { successor_of: successorOf }),
  };
  return dstackBundle(plan, { name, version: VERSION, tokens, ...given });
}

function hint({ from, acceptRefused }: DeployOptions): string {
  if (from === undefined || acceptRefused === true) return '';
  return 'Deployed as it is, these keys would do nothing: take them out, or say --accept-refused.\n';
}

function document({ report }: Plan, { files, notes, compose_hash }: Bundle, { out }: DeployOptions): string {
  const paths = files.map(({ path }) => path);
  return `${JSON.stringify({ ok: true, out, files: paths, notes, ...(compose_hash !== undefined && { compose_hash }), report })}\n`;
}

function said({ report }: Plan, { files, notes, compose_hash }: Bundle, { out }: DeployOptions): string {
  const refused = report.filter(({ outcome }) => outcome === 'refused').length;
  return [
    `${files.length} files in ${out}:`,
    ...files.map(({ path }) => `  ${path}`),
    ...(compose_hash === undefined ? [] : [`compose-hash ${compose_hash}`]),
    ...(report.length === 0 ? [] : [`of ${report.length} keys of the phala.toml ${refused} do nothing here`]),
    ...notes.map((note) => `- ${note}`),
    '',
  ].join('\n');
}

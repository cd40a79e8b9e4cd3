// `aegisd demo --tee dstack`: the main path on a simulated guest agent, with a witness in a second process on another one. Every
// batch file must have the evidence of both, be accepted by a fresh process under a policy that names both roots, and be refused
// without, and with the two pieces of evidence swapped. Exit 0 only if all of that held.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BatchFile } from '../../actors/batch.ts';
import type { Attestation } from '../../actors/quote.ts';
import { attestationOf } from '../../actors/redundancy.ts';
import { run, startDaemon } from '../demo/child.ts';
import { type SceneOptions, stage } from '../demo/scene.ts';
import { startTees } from '../demo/tees.ts';
import { RequestError } from './connection.ts';
import { mainPath, type Report, table } from './demo.ts';
import { EXIT } from './program.ts';

interface Options extends SceneOptions {
  readonly transactions: number;
}

interface TeeReport extends Report {
  /** Batch files with the evidence of both platforms, and of freshness 1. */
  witnessed: number;
  /** Refused without the roots of both, and with the two swapped. */
  refuses: { without_roots: boolean; one_root: boolean; swapped: boolean };
}

export function teeDemo(options: Options): Promise<number> {
  return stage(options, async ({ folder, state_dir, say }) => {
    await using tees = await startTees(state_dir, folder);
    say(`witness   ${tees.witness.url}, on a second SIMULATED platform`);
    const daemon = await startDaemon(join(state_dir, 'primary'), join(folder, 'daemon.log'), tees.settings);
    say(`daemon    ${daemon.url}, log ${daemon.log_id.slice(0, 18)}…, SIMULATED platform`);
    let path: Report;
    try {
      path = await mainPath(daemon, folder, options.transactions, say);
    } finally {
      await daemon.stop();
    }
    const policy = {
      roots: Object.values(tees.roots),
      log_id: daemon.log_id,
      redundancy: 'required',
      freshness_min: 1,
    };
    const report = await judge(path, folder, policy, say);
    if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
    else say(table(report, options.keep === undefined ? undefined : folder));
    const complete = report.transactions === options.transactions && report.refused === 0;
    const held = report.verified && report.witnessed === report.batches.length;
    return held && complete && Object.values(report.refuses).every(Boolean) ? EXIT.ok : EXIT.refused;
  });
}

/** By fresh processes, each under a policy that is in a file of its own. */
async function judge(
  path: Report,
  folder: string,
  policy: { roots: string[] },
  say: (line: string) => void,
): Promise<TeeReport> {
  const files = await Promise.all(
    path.batches.map(async (file) => JSON.parse(await readFile(file, 'utf8')) as BatchFile),
  );
  const witnessed = files.filter(isWitnessed).length;
  const verify = async (name: string, rules: object, batches: readonly string[]) => {
    const file = join(folder, name);
    await writeFile(file, JSON.stringify(rules));
    const { code } = await run(['verify', '--allow-simulated', '--policy', file, '--json', ...batches]);
    return code;
  };
  const refuses = async (name: string, rules: object, batches: readonly string[]) =>
    (await verify(name, rules, batches)) === EXIT.refused;
  const verified = files.length > 0 && (await verify('policy.json', policy, path.batches)) === EXIT.ok;
  say(`verified  by a fresh process under both roots: ${verified ? 'every batch' : 'NOT every batch'}`);
  const { roots: _, ...rest } = policy;
  const [first] = path.batches;
  const swapped = await swap(folder, files);
  return {
    ...path,
    verified,
    witnessed,
    refuses: {
      // Intel's root, which is what a policy without roots means for hardware.
      without_roots: (await run(['verify', '--json', first!])).code === EXIT.refused,
      one_root: await refuses('policy-one-root.json', { ...rest, roots: policy.roots.slice(0, 1) }, [first!]),
      swapped: await refuses('policy-swapped.json', policy, [swapped]),
    },
  };
}

function isWitnessed({ attestation, slh_dsa_sig }: BatchFile): boolean {
  return attestation?.phala_redundancy?.role === 'witness' && slh_dsa_sig?.seal.freshness === 1;
}

/** The first batch with each platform's evidence in the place of the other's. */
async function swap(folder: string, files: readonly BatchFile[]): Promise<string> {
  const [file] = files;
  const { phala_redundancy: second, aegis_verification, not_after_ms, ...first } = file!.attestation!;
  if (second === null) throw new RequestError('one_platform', 'the batch has the evidence of one platform alone');
  const attestation: Attestation = {
    ...attestationOf(second, not_after_ms),
    phala_redundancy: { ...second, ...first, phala_verification: aegis_verification },
  };
  const path = join(folder, 'swapped.json');
  await writeFile(path, JSON.stringify({ ...file, attestation }));
  return path;
}

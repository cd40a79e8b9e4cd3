// Two platforms for the demo, each a simulated dstack guest agent with a PKI of its own: one for the sequencer, and one for a witness,
// which runs in a process of its own. Nothing of it is hardware, and everything that it signs says so.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSimulator, type Simulator } from '../tee/simulator.ts';
import { type Agent, startAgent } from './agent.ts';
import { makeAppKeys } from './appkeys.ts';
import { type ChildWitness, startWitness } from './child.ts';

/** One machine with its guest agent. */
interface Platform {
  readonly agent: Agent;
  readonly folder: string;
  /** Lines of TOML. */
  readonly settings: string;
}

export interface Tees extends AsyncDisposable {
  readonly witness: ChildWitness;
  /** For the daemon, lines of TOML behind `[api] listen`. */
  readonly settings: string;
  /** Both roots, DER in base64: what a verifier's policy names. */
  readonly roots: { readonly primary: string; readonly witness: string };
}

/**
 * @param state_dir  temporary; the sockets of the agents lie there, so its path is short
 * @param folder     where the log of the witness goes
 */
export async function startTees(state_dir: string, folder: string): Promise<Tees> {
  const simulators = {
    primary: openSimulator(join(state_dir, 'primary-pki'), Date.now),
    witness: openSimulator(join(state_dir, 'witness-pki'), Date.now),
  };
  const roots = { primary: simulators.primary.root.toBase64(), witness: simulators.witness.root.toBase64() };
  const all = Object.values(roots);
  const platforms: Platform[] = [];
  try {
    for (const [name, simulator] of Object.entries(simulators)) {
      platforms.push(await startPlatform(join(state_dir, name), simulator, all));
    }
    const [primary, second] = platforms as [Platform, Platform];
    const witness = await startWitness(second.folder, join(folder, 'witness.log'), second.settings);
    const settings = `${primary.settings}witness = "required"\nwitness_url = ${JSON.stringify(witness.url)}\n`;
    const stop = async () => {
      await witness.stop();
      await stopAll(platforms);
    };
    return { witness, settings, roots, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stopAll(platforms);
    throw error;
  }
}

async function stopAll(platforms: readonly Platform[]): Promise<void> {
  for (const { agent } of platforms) await agent[Symbol.asyncDispose]();
}

/** The agent of a machine, and the settings of a daemon that takes its keys and its quotes from there. */
async function startPlatform(folder: string, simulator: Simulator, roots: readonly string[]): Promise<Platform> {
  const collateral_dir = join(folder, 'collateral');
  mkdirSync(collateral_dir, { recursive: true });
  const { collateral } = await simulator.quote(new Uint8Array(64));
  // The model that the simulator says it is: "AEGIS" and a zero.
  writeFileSync(join(collateral_dir, 'tdx-414547495300-platform.json'), JSON.stringify(collateral));
  const socket = join(folder, 'agent.sock');
  const agent = await startAgent({ socket, keys: makeAppKeys(), quote: simulator.quoteOf });
  const quoted = JSON.stringify;
  const settings = [
    '[keys]',
    'source = "dstack"',
    `dstack_socket = ${quoted(socket)}`,
    `kms_root = "${agent.kms_root}"`,
    `app_id = "${agent.app_id}"`,
    '[attestation]',
    'primary = "dstack"',
    `dstack_socket = ${quoted(socket)}`,
    `collateral_dir = ${quoted(collateral_dir)}`,
    'pccs_url = ""',
    `policy = { roots = ${quoted(roots)} }`,
    '',
  ].join('\n');
  return { agent, folder, settings };
}

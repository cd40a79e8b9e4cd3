// Two enclaves for the demo and the bench of handovers: state folders with simulated platforms whose roots differ, images of other names,
// and the admin who signs that the one may succeed the other. Everything is SIMULATED.
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Act, Measurement } from '../../actors/act.ts';
import { base64, hex, utf8 } from '../../actors/encoding.ts';
import { readQuote } from '../../actors/intelquote.ts';
import { adminId, digestOf, ORDER_CONTEXT, type Order } from '../../actors/order.ts';
import { reportField } from '../../actors/tdx.ts';
import { openSimulator, type Simulator } from '../tee/simulator.ts';

export const IMAGES = ['old', 'new'] as const;
export type Image = (typeof IMAGES)[number];

const HOUR_MS = 3_600_000;

export interface Enclaves {
  folderOf(image: Image): string;
  /** Lines of TOML behind `[api] listen`. @param more  such lines as well */
  settingsOf(image: Image, more: string): string;
  /** Signed: the new image may succeed, from now on. */
  order(log_id: string): Promise<Order>;
}

export function makeEnclaves(state_dir: string): Enclaves {
  const folderOf = (image: Image) => join(state_dir, image);
  const simulatorOf = (image: Image) => openSimulator(join(folderOf(image), 'simulator', 'pki'), Date.now, image);
  for (const image of IMAGES) mkdirSync(folderOf(image), { recursive: true });
  const roots = JSON.stringify(IMAGES.map((image) => simulatorOf(image).root.toBase64()));
  const { publicKey, privateKey } = generateKeyPairSync('ml-dsa-87');
  const raw = new Uint8Array(publicKey.export({ format: 'raw-public' }));
  return {
    folderOf,
    settingsOf: (image, more) => `${more}[admin]
keys = ["${base64(raw)}"]
[attestation]
simulator_image = "${image}"
policy = { roots = ${roots} }
[handover]
delay_ms = 0
`,
    async order(log_id) {
      const measurement = await measurementOf(simulatorOf('new'));
      const act: Act = { type: 'allow_measurement', measurement, in_force_after_ms: 0 };
      const unsigned = { log_id, nonce: hex(randomBytes(32)), not_after_ms: Date.now() + HOUR_MS, act };
      const key = { key: privateKey, context: utf8(ORDER_CONTEXT) };
      const signature = base64(new Uint8Array(sign(null, digestOf(unsigned), key)));
      return { version: 1, ...unsigned, admin: adminId(raw), signature };
    },
  };
}

/** What a simulator says that it measures. */
export async function measurementOf(simulator: Pick<Simulator, 'quote'>): Promise<Measurement> {
  const { quote } = await simulator.quote(new Uint8Array(64));
  const { report } = readQuote(quote);
  const of = (name: 'mrtd' | 'rtmr0' | 'rtmr1' | 'rtmr2') => hex(reportField(report, name));
  const registers = { mrtd: of('mrtd'), rtmr0: of('rtmr0'), rtmr1: of('rtmr1'), rtmr2: of('rtmr2') };
  return { quote_type: 'TDX', ...registers, compose_hash: null };
}

/** `host:port` that nobody listens on now, since clients are told of a successor before it listens. */
export async function freeAddress(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return `127.0.0.1:${port}`;
}

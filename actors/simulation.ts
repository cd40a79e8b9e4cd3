// A simulated threat, calm to emergency and back, from a seed: what `aegisd qrm simulate` plays where the configuration allows it.
// Pure: round after round it says which indicators there are; the same seed says the same on every machine. Upstream's simulation
// start and stop have their successors here.
import { timestamp } from './encoding.ts';
import { type Threat, threatOf } from './indicator.ts';
import { CATEGORIES, type Category } from './words.ts';

/** Of one simulation. The threat is at its height in the middle. */
export const SIMULATION_ROUNDS = 24;

/** Rounds before the last in which nothing is left of it. */
const QUIET = 4;

/** Bryc's mulberry32: 32 bits of state are enough to be reproducible, and nothing here has to be unpredictable. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SCENES: readonly (readonly [Category, string, string])[] = [
  ['digital_signatures', 'ecdsa', 'simulated: a 256-bit elliptic curve key computed from its public key'],
  ['digital_signatures', 'rsa', 'simulated: RSA-2048 factored'],
  ['digital_signatures', 'bls', 'simulated: aggregate signatures forged'],
  ['decryption_hndl', 'ecies', 'simulated: recorded ECIES traffic decrypted'],
];

/** All that is there in a round, from 0 to SIMULATION_ROUNDS − 1. */
export function simulate(seed: number, round: number, now_ms: number): Threat[] {
  const random = mulberry32(seed);
  const peak = SIMULATION_ROUNDS / 2;
  const left = SIMULATION_ROUNDS - QUIET - round;
  const strength = Math.max(0, Math.min(1, Math.min(round, left) / (peak - QUIET)));
  const scenes = [...SCENES, ...Array.from({ length: 2 }, (): (typeof SCENES)[number] => background(random))];
  return scenes.flatMap(([category, sub_category, description], i) => {
    const offset = random() * 0.15;
    const severity = Math.round(10_000 * Math.max(0, Math.min(0.97, strength * 1.15 - offset))) / 10_000;
    if (severity === 0) return [];
    const said = { category, sub_category, severity, confidence: 0.95, source: `simulation ${i}`, description };
    const indicator = {
      ...said,
      timestamp: timestamp(now_ms),
      era_relevance: 'fault_tolerant' as const,
      references: [],
    };
    return [threatOf(indicator, 'simulation', `${seed}-${i}`)];
  });
}

function background(random: () => number): readonly [Category, string, string] {
  const category = CATEGORIES[Math.floor(random() * CATEGORIES.length)]!;
  return [category, 'background', 'simulated: an advisory of no great weight'];
}

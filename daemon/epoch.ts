// What the store says of an epoch (DESIGN §5): its machine, and who may be admitted under it. Read inside steps, so that an
// epoch which ends and an envelope which comes are decided one after the other.
import { admits, EPOCH_MACHINE_VERSION, type EpochState, epochMachine, type Standing } from '../actors/epoch.ts';
import { meta } from './records.ts';
import { type MachineKind, machineId } from './runtime.ts';
import type { Reader } from './store.ts';

export const EPOCH: MachineKind<typeof epochMachine> = {
  name: 'epoch',
  version: EPOCH_MACHINE_VERSION,
  machine: epochMachine,
};

/** Undefined for an epoch that never was. */
export function standing(reader: Reader, epoch: number): Standing | undefined {
  const kept = reader.get('machines', machineId(EPOCH, epoch));
  if (kept === undefined) return undefined;
  return { ...(kept.context as Omit<Standing, 'state'>), state: kept.value as EpochState };
}

/** Epochs in grace, rising. */
export const inGrace = (reader: Reader): readonly number[] => meta(reader, 'epoch').grace ?? [];

/**
 * Who receipts an envelope of this epoch: the active epoch, since grace signs nothing new. Undefined when the envelope is not
 * admitted.
 */
export function receiptEpoch(reader: Reader, epoch: number, now_ms: number): number | undefined {
  const found = standing(reader, epoch);
  if (found === undefined || !admits(found, now_ms)) return undefined;
  return found.state === 'active' ? epoch : meta(reader, 'epoch').active;
}

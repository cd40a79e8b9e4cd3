// Epochs of a predecessor enclave (DESIGN §8): what opens and unwraps in them came through the channel of a handover, and lies in the
// store wrapped under a key of this enclave's own root until the epoch retires. Signing keys never come: a successor signs by
// its own epochs alone. handover/ writes and exports these; the epochs of the daemon open them at start.
import type { KeyObject } from 'node:crypto';
import { openWrap, sealWrap } from '../../workers/wrap.ts';
import { Fault } from '../fault.ts';
import type { Reader } from '../store.ts';
import { inheritedKey, READING_BYTES, type ReadingHalf, readingOf, readingSecrets } from './keyring.ts';
import type { KeySource } from './source.ts';

const placeOf = (epoch: number) => ({ kind: 'epoch', id: 'inherited', epoch });

/** @param secrets  of `exportReading` of the predecessor; wiping them is the caller's job. @returns the record of the table `inherited` */
export async function wrapInherited(source: KeySource, epoch: number, secrets: Uint8Array): Promise<Uint8Array> {
  return sealWrap(await inheritedKey(source), placeOf(epoch), secrets);
}

/** @returns undefined for an epoch of this enclave's own root. @throws {Fault} store_corrupt */
export async function openInherited(
  reader: Reader,
  source: KeySource,
  epoch: number,
): Promise<ReadingHalf | undefined> {
  const secrets = await unwrapped(reader, source, epoch);
  if (secrets === undefined) return undefined;
  try {
    return readingOf(epoch, secrets);
  } finally {
    secrets.fill(0);
  }
}

/** Of any epoch that opens: its own, or one that came before. @returns 128 bytes, the caller's to wipe */
export async function exportReading(reader: Reader, source: KeySource, epoch: number): Promise<Uint8Array> {
  return (await unwrapped(reader, source, epoch)) ?? readingSecrets(source, epoch);
}

async function unwrapped(reader: Reader, source: KeySource, epoch: number): Promise<Uint8Array | undefined> {
  const record = reader.get('inherited', epoch);
  if (record === undefined) return undefined;
  const key: KeyObject = await inheritedKey(source);
  const secrets = openWrap(key, placeOf(epoch), record);
  if (secrets?.length === READING_BYTES) return secrets;
  const reason = `what was inherited of epoch ${epoch} does not open`;
  throw new Fault({ code: 'store_corrupt', reason, table: 'inherited', key: epoch });
}

// What of a policy holds for whoever an admin's order names; the rest of judgement.ts runs in the tests of witness and handover.
import { expect, it } from 'vitest';
import { type Judge, ofAnyEnclave } from './judgement.ts';

it('takes the programs out of a policy, and leaves the platforms, and who holds the keys', () => {
  const roots = [new Uint8Array(32)];
  const rest = { roots, tcb_statuses: ['UpToDate'], kms_roots: ['0x01'], event_log: 'required' } as const;
  const pinned = { measurements: [{ mrtd: '0x02' }], compose_hashes: ['0x03'], app_ids: ['0x04'] };
  const judge = { policy: { ...rest, ...pinned }, production: true } as unknown as Judge;
  expect(ofAnyEnclave(judge)).toEqual({ policy: rest, production: true, any_enclave: true });
});

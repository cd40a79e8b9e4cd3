// Makes the checkpoint of the worked example: `node docs/example/checkpoint.ts` writes checkpoint.json beside it, and `npm run docs` the
// page. It is of the example's log and signed by its first epoch, over two assets. A new run changes the signature alone, which
// is hedged.
import { sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { assetOf, Registration } from '../../actors/asset.ts';
import {
  advanced,
  CHECKPOINT_CONTEXT,
  checkpointId,
  digestOfCheckpoint,
  NO_PROGRESS,
  snapshotOf,
  stateHashAt,
} from '../../actors/checkpoint.ts';
import { logId } from '../../actors/digest.ts';
import { base64, hex, timestamp, utf8 } from '../../actors/encoding.ts';
import { deriveEpoch } from '../../daemon/keys/keyring.ts';
import { slhDsaKey } from '../../workers/slhdsa.ts';
import { CHAIN_ID, LOG_RANDOM, ROOT } from './seed.ts';

const TIME_MS = Date.UTC(2026, 5, 1, 12, 0, 1);
const keys = await deriveEpoch({ name: 'simulator', material: async () => ROOT.slice() }, 1, true, slhDsaKey, false);
const policy = { requires_pqc: true, requires_tee: true, risk_threshold: 5000 };
const asset_snapshots = [
  { asset_id: 'ledger', asset_type: 'OffChainDatabase' as const, access_policy: policy },
  {
    ...{ asset_id: 'token', asset_type: 'OnChainToken' as const, access_policy: policy, chain_id: CHAIN_ID },
    contract_address: `0x${'11'.repeat(20)}`,
  },
].map((registration) => snapshotOf(assetOf(Registration.parse(registration), TIME_MS)));
const unsigned = {
  checkpoint_id: checkpointId(1, 0),
  log_id: hex(logId(CHAIN_ID, LOG_RANDOM)),
  block_number: 1,
  state_hash: stateHashAt(advanced(NO_PROGRESS, asset_snapshots)),
  asset_count: asset_snapshots.length,
  timestamp: timestamp(TIME_MS),
  epoch: 1,
};
const context = utf8(CHECKPOINT_CONTEXT);
const signature = sign(null, digestOfCheckpoint(unsigned), { key: keys.ml_dsa_87, context });
const checkpoint = { ...unsigned, pqc_signature: base64(new Uint8Array(signature)), asset_snapshots };
writeFileSync(new URL('checkpoint.json', import.meta.url), `${JSON.stringify(checkpoint, null, 2)}\n`);

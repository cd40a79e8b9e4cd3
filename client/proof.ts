// Checks of what vouches for a batch: keyset, seal, inclusion, signatures and evidence (DESIGN §3, §4, §6). verify.ts runs
// them, cheap ones first. The keyset in the file is believed only because the quote's report data binds its digest, or
// because the policy pins it.
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js';
import type { BatchFile } from '../actors/batch.ts';
import { CHECKPOINT_CONTEXT, digestOfCheckpoint } from '../actors/checkpoint.ts';
import { batchHash } from '../actors/eip712.ts';
import { equal, fromBase64, fromHex, hex, utf8 } from '../actors/encoding.ts';
import { logLeaf, verifyInclusion } from '../actors/tree.ts';
import { CLOCK_SKEW_MS, simulatedRefusal } from './attestation.ts';
import { checkPlatforms, judgePlatforms } from './platforms.ts';
import { type Check, fail, type Subject } from './verdict.ts';

const BATCH_CONTEXT = { context: utf8('aegis/batch/v1') };
const CHECKPOINT = { context: utf8(CHECKPOINT_CONTEXT) };
const SEAL_CONTEXT = { context: utf8('aegis/seal/v1') };

export const checkKeyset: Check = ({ file: { header, keyset, slh_dsa_sig }, policy, keyset_digest }) => {
  for (const name of ['chain_id', 'log_id', 'epoch'] as const) {
    if (keyset[name] !== header[name]) {
      return fail('keyset_mismatch', `keyset.${name}`, `the header says ${header[name]}`);
    }
  }
  const pinned = policy.keysets?.includes(hex(keyset_digest)) ?? false;
  if (policy.keysets !== undefined && !pinned) {
    return fail('keyset_refused', 'keyset', `its digest ${hex(keyset_digest)} is not one that the policy pins`);
  }
  if (slh_dsa_sig !== null) return null;
  if (policy.signatures === 'all') {
    return fail('unsealed', 'slh_dsa_sig', 'no seal covers the batch yet; fetch it again later');
  }
  // Nothing else says whose keys these are.
  return pinned ? null : fail('unsealed', 'slh_dsa_sig', 'without a seal the policy must pin the keyset (keysets)');
};

export const checkSeal: Check = ({ file: { header, slh_dsa_sig }, digest, keyset_digest, now_ms }) => {
  if (slh_dsa_sig === null) return null;
  const { seal, leaf_index, inclusion_path } = slh_dsa_sig;
  if (seal.log_id !== header.log_id) {
    return fail('seal_log_mismatch', 'slh_dsa_sig.seal.log_id', `the batch is of log ${header.log_id}`);
  }
  // A rotation seals all of an epoch's batches before the next epoch signs.
  if (seal.epoch !== header.epoch) {
    return fail('seal_epoch_mismatch', 'slh_dsa_sig.seal.epoch', `the batch is of epoch ${header.epoch}`);
  }
  if (seal.keyset_digest !== hex(keyset_digest)) {
    return fail('seal_keyset_mismatch', 'slh_dsa_sig.seal.keyset_digest', `the keyset's is ${hex(keyset_digest)}`);
  }
  if (seal.timestamp_ms > now_ms + CLOCK_SKEW_MS) {
    return fail('seal_in_future', 'slh_dsa_sig.seal.timestamp_ms', 'sealed after the time that it is judged at');
  }
  if (leaf_index >= seal.size) {
    return fail('inclusion_invalid', 'slh_dsa_sig.leaf_index', `the head has ${seal.size} leaves`);
  }
  const included = verifyInclusion(
    logLeaf('batch', digest),
    leaf_index,
    seal.size,
    inclusion_path.map(fromHex),
    fromHex(seal.root),
  );
  return included ? null : fail('inclusion_invalid', 'slh_dsa_sig.inclusion_path', 'does not lead to the sealed root');
};

/** Under `all` every signature holds; under `any-pq` the ML-DSA pair or the SLH-DSA signature does. */
export const checkMlDsa: Check = ({ file, policy, digest, head_digest, found }) => {
  const key = fromBase64(file.keyset.ml_dsa_87);
  const batch = verifies(() => ml_dsa87.verify(fromBase64(file.ml_dsa_sig.signature), digest, key, BATCH_CONTEXT));
  const checkpoint = file.migration_checkpoint;
  // Under every policy: where it is said to be signed, it is.
  if (checkpoint !== null && checkpoint.pqc_signature !== null) {
    const signature = fromBase64(checkpoint.pqc_signature);
    const signed = digestOfCheckpoint(checkpoint);
    if (!verifies(() => ml_dsa87.verify(signature, signed, key, CHECKPOINT))) {
      return fail('checkpoint_invalid', 'migration_checkpoint.pqc_signature', "does not verify under the keyset's key");
    }
  }
  const head =
    file.slh_dsa_sig === null ||
    verifies(() => ml_dsa87.verify(fromBase64(file.slh_dsa_sig!.ml_dsa_signature), head_digest, key, SEAL_CONTEXT));
  found.ml_dsa_valid = batch && head;
  // A seal may still save it by SLH-DSA alone.
  if (found.ml_dsa_valid || (policy.signatures === 'any-pq' && file.slh_dsa_sig !== null)) return null;
  return batch
    ? fail(
        'seal_ml_dsa_invalid',
        'slh_dsa_sig.ml_dsa_signature',
        "does not verify over the head under the keyset's key",
      )
    : fail('ml_dsa_invalid', 'ml_dsa_sig.signature', "does not verify over the batch digest under the keyset's key");
};

export const checkSlhDsa: Check = ({ file, policy, head_digest, found }) => {
  if (file.slh_dsa_sig === null) return null;
  const signature = fromBase64(file.slh_dsa_sig.signature);
  const key = fromBase64(file.keyset.slh_dsa_sha2_256s);
  found.slh_dsa_valid = verifies(() => slh_dsa_sha2_256s.verify(signature, head_digest, key, SEAL_CONTEXT));
  if (found.slh_dsa_valid || (policy.signatures === 'any-pq' && found.ml_dsa_valid)) return null;
  return fail('slh_dsa_invalid', 'slh_dsa_sig.signature', "does not verify over the head under the keyset's key");
};

/** There when its bit in the header is set (checkHeader). `all` demands it; under `any-pq` it is only reported. */
export const checkEcdsa: Check = ({ file: { header, ecdsa_sig, keyset }, policy, digest, found }) => {
  if (ecdsa_sig === null) return null;
  if (keyset.secp256k1 === null) return fail('ecdsa_missing', 'keyset.secp256k1', 'the header lists ECDSA');
  const hash = batchHash({ chain_id: header.chain_id, height: header.height, digest });
  found.ecdsa_valid = isSignedBy(fromHex(ecdsa_sig.signature), hash, fromBase64(keyset.secp256k1));
  if (found.ecdsa_valid || policy.signatures === 'any-pq') return null;
  return fail('ecdsa_invalid', 'ecdsa_sig.signature', "is not a low-s signature by the keyset's key with v 27 or 28");
};

/** SEC 1 §4.1.6, with the low s of EIP-2 and the v of EIP-712, so that a batch has one valid signature of each nonce. */
function isSignedBy(signature: Uint8Array, hash: Uint8Array, publicKey: Uint8Array): boolean {
  const v = signature[64]!;
  if (v !== 27 && v !== 28) return false;
  return verifies(() => {
    const parsed = secp256k1.Signature.fromBytes(signature.slice(0, 64), 'compact');
    if (parsed.hasHighS()) return false;
    return equal(
      parsed
        .addRecoveryBit(v - 27)
        .recoverPublicKey(hash)
        .toBytes(false),
      publicKey,
    );
  });
}

/** Libraries throw on what is no point or no key at all. */
function verifies(verify: () => boolean): boolean {
  try {
    return verify();
  } catch {
    return false;
  }
}

type Attested = BatchFile & {
  slh_dsa_sig: NonNullable<BatchFile['slh_dsa_sig']>;
  attestation: NonNullable<BatchFile['attestation']>;
};

/**
 * Every platform that the seal names attests it under this keyset. Certificates and collateral are judged at `now_ms`; the
 * seal's own time would do for nothing, because whoever holds a key that has since been revoked can write any time into a
 * seal. So an old file needs a time from outside (`--at`), at which its reader knows that it existed. `not_after_ms` bounds
 * for how long the quote vouches for the *newest* head, which a batch file doesn't claim, so it is compared with the seal's
 * time only.
 */
export const checkAttestation: Check = (subject) => {
  const { file, found } = subject;
  if (file.slh_dsa_sig === null || file.attestation === null) {
    found.simulated = file.keyset.key_source === 0;
    return found.simulated && !subject.allow_simulated ? simulatedRefusal('keyset.key_source') : null;
  }
  const attested = file as Attested;
  const evidence = { ...evidenceOf(subject, attested), field: 'slh_dsa_sig.seal' };
  return checkPlatforms(evidence) ?? judgePlatforms(evidence);
};

function evidenceOf(subject: Subject, { keyset, attestation, slh_dsa_sig: { seal } }: Attested) {
  const { policy, allow_simulated, now_ms, head_digest, keyset_digest, found } = subject;
  return { seal, attestation, keyset, policy, allow_simulated, now_ms, head_digest, keyset_digest, found };
}

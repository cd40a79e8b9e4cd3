// Why an ordered envelope got no place in its batch, and what its wallet should do. The number is signed (it is part of
// `refused_root`), the word is its name in this table (DESIGN §3). Numbers are never used again for something else; the
// batch's verifier, the API and the docs read them here.

export const REFUSALS = {
  unopenable: [
    1,
    'The ciphertext does not open under the keyset of its epoch.',
    'Fetch and verify the keyset again and encrypt anew; send every field as it was when it was encrypted.',
  ],
  aad_mismatch: [
    2,
    'The fields repeated inside an ecies ciphertext differ from the declared ones.',
    'Encrypt anew with the fields that you declare, or with x-wing, which binds them.',
  ],
  malformed_transaction: [
    3,
    'The plaintext is not a canonically encoded EIP-2718 transaction.',
    'Encrypt exactly the bytes that the wallet signed, nothing before or behind them.',
  ],
  unsupported_type: [
    4,
    'The transaction type is not 0, 1, 2 or 4.',
    'Sign it as another type; blobs (type 3) cannot be carried.',
  ],
  unprotected: [
    5,
    'A legacy transaction without chain id (EIP-155) could be replayed on any chain.',
    'Sign it with the chain id, or as type 1, 2 or 4.',
  ],
  wrong_chain: [
    6,
    'The transaction was signed for another chain.',
    'Sign it for the chain that the keyset names, or send it to the sequencer of its chain.',
  ],
  bad_signature: [
    7,
    'No sender can be recovered from the signature, or its s is in the upper half (EIP-2).',
    'Sign it again with a wallet that gives the lower s, as all common ones do.',
  ],
  replayed: [
    8,
    'A transaction with this hash has been sequenced before.',
    'Nothing: ask for it by its hash. For another transfer of the same kind sign one with the next nonce.',
  ],
  claim_mismatch: [
    12,
    'priority_fee differs from maxPriorityFeePerGas (gasPrice before type 2) of the transaction.',
    'Encrypt anew and declare the fee of the transaction; the client library reads it from there.',
  ],
  asset_undeclared: [
    20,
    'It reaches a registered asset that its envelope does not declare.',
    'Encrypt anew and name the asset in asset_refs; /assets/protection/{id} shows what is registered.',
  ],
  asset_not_touched: [
    21,
    'It declares an asset that is not registered, or that it does not reach.',
    'Encrypt anew with only those asset_refs that the transaction calls or moves.',
  ],
  operation_not_allowed: [
    22,
    'The policy of an asset that it reaches does not allow the operation.',
    'Look at allowed_operations in /assets/protection/{id}; only the operator can change them.',
  ],
  pqc_required: [
    23,
    'An asset that it reaches takes only what came under x-wing.',
    'Encrypt anew with the scheme x-wing, the default of the client library.',
  ],
  attestation_required: [
    24,
    'An asset that it reaches takes nothing while the attestation of the enclave is not valid.',
    'Sign and send it again once /ready shows the attestation.',
  ],
  asset_protected: [
    25,
    'An asset that it reaches is protected while the risk is high, and this is no emergency operation.',
    'Wait for the feed to say asset_protection with a lower level, or use an operation of emergency_operations.',
  ],
  asset_migrating: [
    26,
    'An asset that it reaches is part of a migration, or has moved.',
    'Wait for the end of the migration; /assets/protection/{id} shows migration_state.',
  ],
  calldata_malformed: [
    27,
    'Its calldata is not the canonical encoding of a call that reaches an asset, or a wrapper in it cannot be read.',
    'Let a library encode the call: no bytes behind the arguments, no unclean words, no offsets of your own.',
  ],
  calldata_too_complex: [
    28,
    'It wraps more calls, or deeper, than are looked into.',
    'Split it into several transactions.',
  ],
  migration_not_listed: [
    29,
    'It claims to belong to the running migration, which does not list its sender.',
    'Encrypt anew without requires_migration, or have the operator list the sender when the next migration starts.',
  ],
} as const satisfies Record<string, readonly [code: number, sentence: string, remedy: string]>;

export type Refusal = keyof typeof REFUSALS;

export const refusalCode = (reason: Refusal): number => REFUSALS[reason][0];

const BY_CODE: ReadonlyMap<number, Refusal> = new Map(
  (Object.keys(REFUSALS) as Refusal[]).map((reason) => [REFUSALS[reason][0], reason]),
);

export const refusalOf = (code: number): Refusal | undefined => BY_CODE.get(code);

// What the worked example of docs/format.md starts from; the page prints it.

/** The root of the example's key source, 32 bytes. */
export const ROOT: Uint8Array = Uint8Array.from({ length: 32 }, (_, i) => i);
/** The random field of `aegis/log/v1`, 32 bytes. */
export const LOG_RANDOM: Uint8Array = Uint8Array.from({ length: 32 }, (_, i) => 0x20 + i);
export const CHAIN_ID = '31337';
/** Of the admin's ML-DSA-87 key, 32 bytes. */
export const ADMIN_SEED: Uint8Array = Uint8Array.from({ length: 32 }, (_, i) => 0x60 + i);

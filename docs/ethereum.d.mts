// Types of ethereum.mjs, as far as tests use it.

/**
 * @param odd  parity of the y of the signature's point
 * @returns    x ‖ y, 64 bytes. @throws where no key could have signed
 */
export function recover(signed: Buffer, r: bigint, s: bigint, odd: number): Uint8Array;

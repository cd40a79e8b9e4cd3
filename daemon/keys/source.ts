// Where secrets come from: one root per enclave identity, and every key from it by path (DESIGN §5). A source gives 32
// bytes for a path; what a source gives is never used as a key itself, only as input of HKDF.

export interface KeySource {
  readonly name: 'simulator' | 'dstack' | 'credential' | 'sgx';
  /**
   * @param path  `aegis/<role>/<algorithm>/epoch/<n>`
   * @returns     32 bytes of key material, the caller's to wipe
   * @throws      {Fault} key_source_failed
   */
  material(path: string): Promise<Uint8Array>;
}

// Where secrets come from: one root per enclave identity, and every key from it by path (DESIGN §5). A source gives 32
// bytes for a path; what a source gives is never used as a key itself, only as input of HKDF with the path. So a source may
// derive by path (dstack) or give its root for every path (the others). open.ts chooses one.

export interface KeySource {
  readonly name: 'simulator' | 'dstack' | 'credential' | 'sgx';
  /**
   * @param path  `aegis/<role>/<algorithm>/epoch/<n>`
   * @returns     32 bytes of key material off the V8 heap, the caller's to wipe
   * @throws {Fault} key_source_failed, key_source_changed, guest_agent_failed, guest_agent_timeout
   */
  material(path: string): Promise<Uint8Array>;
}

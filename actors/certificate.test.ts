import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  canonicalSigned,
  isIssuedBy,
  readCertificate,
  readPem,
  readPlatform,
  readRevocationList,
} from './certificate.ts';
import { canonicalQuote, readQuote } from './intelquote.ts';

const file = (name: string) => readFileSync(new URL(`../test/fixtures/tee/${name}`, import.meta.url));
const collateral = JSON.parse(file('tdx/tdx_quote_collateral.json').toString()) as Record<string, string>;
const quote = readQuote(canonicalQuote(new Uint8Array(file('tdx/tdx_quote'))));
const chain = readPem(new TextDecoder().decode(quote.pck_chain));
const ders = [...chain, ...readPem(collateral['tcb_info_issuer_chain']!)];

describe('certificates', () => {
  it('are read as OpenSSL reads them', () => {
    for (const der of ders) {
      const ours = readCertificate(der);
      const theirs = new X509Certificate(der);
      expect(ours.serial).toBe(theirs.serialNumber.toLowerCase());
      expect(ours.not_before_ms).toBe(theirs.validFromDate.getTime());
      expect(ours.not_after_ms).toBe(theirs.validToDate.getTime());
      expect(ours.ca).toBe(theirs.ca);
      expect(theirs.subject).toContain(`CN=${ours.commonName}`);
      const spki = theirs.publicKey.export({ format: 'der', type: 'spki' });
      expect(ours.publicKey.toHex()).toBe(new Uint8Array(spki).slice(-65).toHex());
    }
  });

  it('chain as OpenSSL chains them', () => {
    for (const a of ders) {
      for (const b of ders) {
        const theirs = new X509Certificate(a).verify(new X509Certificate(b).publicKey);
        expect(isIssuedBy(readCertificate(a), readCertificate(b))).toBe(theirs);
      }
    }
  });

  it('say which platform they are for', () => {
    const { ppid, pce_id, fmspc } = readPlatform(readCertificate(ders[0]!));
    expect([ppid.length, pce_id.toHex(), fmspc.toHex()]).toEqual([16, '0000', 'b0c06f000000']);
    expect(() => readPlatform(readCertificate(ders[1]!))).toThrow('no SGX extension');
  });

  it('have one spelling: no changed byte is both read and verified', () => {
    const leaf = ders[0]!;
    const issuer = readCertificate(ders[1]!);
    fc.assert(
      fc.property(fc.nat(leaf.length - 1), fc.integer({ min: 1, max: 255 }), (position, mask) => {
        const changed = leaf.with(position, leaf[position]! ^ mask);
        try {
          return !isIssuedBy(readCertificate(changed), issuer);
        } catch (error) {
          return error instanceof SyntaxError;
        }
      }),
      { numRuns: 300 },
    );
    expect(() => readCertificate(new Uint8Array([...leaf, 0]))).toThrow(SyntaxError);
  });
});

describe('revocation lists', () => {
  it('are read with their entries', () => {
    const list = readRevocationList(canonicalSigned(Uint8Array.fromHex(collateral['pck_crl']!)));
    expect(list.revoked.has('6fc34e5023e728923435d61aa4b83c618166ad35')).toBe(true);
    expect(list.revoked.size).toBeGreaterThan(40);
    expect(new Date(list.next_update_ms).toISOString()).toBe('2025-07-19T10:00:35.000Z');
    expect(readRevocationList(canonicalSigned(Uint8Array.fromHex(collateral['root_ca_crl']!))).revoked.size).toBe(0);
  });
});

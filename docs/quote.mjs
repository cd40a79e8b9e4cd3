// The evidence of a batch file, for verify.mjs: a TDX quote of version 4 (Intel TDX DCAP Quoting Library API, appendix 3) and the
// event log of a dstack CVM (format.md §7); with a second platform's, whether the two show two machines. Only Node's own modules.
import { createPublicKey, verify as isSignature, X509Certificate } from 'node:crypto';
import { bytes, hash, hex, need, number } from './ethereum.mjs';

const INTEL_ROOT = '0x44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3';
const P256_HALF = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n / 2n;

/** One quote, or two, each with what it must be over; the keys come from the primary. @returns whether any of it is simulated */
export function checkPlatforms([first, second], key_source, providers, options) {
  const [one, two] = [first, second].map((quote) => quote && checkQuote(quote.said, quote.report_data, options));
  const simulated = one.simulated || (two?.simulated ?? false);
  need(options.allow_simulated || (!simulated && key_source !== 0), 'simulated: no hardware vouches for this');
  need(one.simulated || providers === 2 || key_source === 1 || key_source === 2, 'keyset.key_source');
  if (two === undefined) return simulated || key_source === 0;
  const isId = (ppid) => ppid.some((byte) => byte !== 0);
  const apart = !one.top.equals(two.top) && !simulated;
  const independent = isId(one.ppid) && isId(two.ppid) ? !one.ppid.equals(two.ppid) : apart;
  need(second.said.independent === independent, 'phala_redundancy.independent');
  return simulated || key_source === 0;
}

/** 1.2.840.113741.1.13.1.1 and the octets behind it (Intel's PCK certificate profile): equal for two quotes of one machine. */
const PPID = Buffer.from('060a2a864886f84d010d01010410', 'hex');
function ppidOf({ raw }) {
  const at = raw.indexOf(PPID);
  need(at > 0, 'quote: PPID');
  return raw.subarray(at + PPID.length, at + PPID.length + 16);
}

/** A TDX quote, version 4: its signatures up to the root, its report data, and what the file repeats of it. */
function checkQuote(said, report_data, { now_ms, roots }) {
  const quote = Buffer.from(said.quote, 'base64');
  const part = (from, to) => quote.subarray(from, to);
  const isWord = ([at, value]) => quote.readUInt16LE(Number(at)) === value;
  const isRest = (at) => quote.readUInt32LE(at) === quote.length - at - 4;
  const words = Object.entries({ 0: 4, 2: 2, 4: 0x81, 6: 0, 764: 6, 1218: 32, 1252: 5 });
  need(said.quote_type === 'TDX' && words.every(isWord) && [632, 766, 1254].every(isRest), 'quote');

  const pem = part(1258).toString('latin1');
  const chain = (pem.match(/-----BEGIN[\s\S]*?END CERTIFICATE-----\n/g) ?? []).map((text) => new X509Certificate(text));
  need(chain.length === 3 && `${chain.join('')}\0` === pem, 'quote: PEM');
  const [pck, ca, top] = chain;
  const isIssued = (one, by) => one.checkIssued(by) && one.verify(by.publicKey) && (one === top || isLow(one.raw));
  need(isIssued(pck, ca) && isIssued(ca, top) && isIssued(top, top), 'quote: chain');
  need(/PCK Certificate/.test(pck.subject) && /PCK \w+ CA/.test(ca.subject) && !pck.ca && ca.ca, 'quote: roles');
  need(
    chain.every((one) => one.validFromDate <= now_ms && now_ms <= one.validToDate),
    'quote: validity',
  );

  const uncompressed = Buffer.concat([Buffer.of(4), part(700, 764)]);
  const attester = { key: uncompressed, format: 'raw-public', asymmetricKeyType: 'ec', namedCurve: 'prime256v1' };
  const signs = (key, from, to, at) =>
    number(part(at + 32, at + 64)) <= P256_HALF &&
    isSignature('sha256', part(from, to), { key, dsaEncoding: 'ieee-p1363' }, part(at, at + 64));
  need(signs(createPublicKey(attester), 0, 632, 636) && signs(pck.publicKey, 770, 1154, 1154), 'quote: signature');
  need(hash('sha256', part(700, 764), part(1220, 1252)).equals(part(1090, 1122)), 'quote: attestation key');
  need((quote[168] & 1) === 0, 'quote: debug');

  const registers = Object.entries({ mrtd: 184, rtmr0: 376, rtmr1: 424, rtmr2: 472, rtmr3: 520 });
  const isMeasured = registers.every(([name, at]) => said.measurements[name] === hex(part(at, at + 48)));
  need(isMeasured && (said.event_log === null || replay(said.event_log).equals(part(376, 568))), 'measurements');
  need(hex(part(568, 632)) === report_data && said.report_data === report_data, 'report_data');
  const simulated = hex(hash('sha256', top.raw)) !== INTEL_ROOT;
  const provider = simulated ? 'simulator' : said.event_log === null ? 'tsm' : 'dstack';
  need(said.simulated === simulated && said.provider === provider, 'simulated, provider');
  need(said.aegis_verification.verified && said.aegis_verification.status === 'UpToDate', 'aegis_verification');
  const isTrusted = roots === undefined || roots.some((root) => root.equals(top.raw));
  need(said.collateral !== null && isTrusted, 'collateral is missing, or another root');
  return { simulated, ppid: ppidOf(pck), top: top.raw };
}

/** RTMR0-3 of an event log: boot events are bare digests, runtime events (RTMR3) are hashed anew. */
function replay(log) {
  const events = JSON.parse(log).map(({ imr, digest, event, event_payload }) => {
    if (imr !== 3) return { imr, event_type: 0, digest, event: '', event_payload: '' };
    need(!event.includes(':') && /^([0-9a-f]{2})*$/.test(event_payload), 'event_log');
    const hashed = hash('sha384', bytes('0x01000008'), `:${event}:`, Buffer.from(event_payload, 'hex'));
    return { imr, event_type: 0x0800_0001, digest: hashed.toString('hex'), event, event_payload };
  });
  need(JSON.stringify(events.toSorted((a, b) => a.imr - b.imr)) === log, 'event_log: not canonical');
  const extend = (register, { digest }) => hash('sha384', register, Buffer.from(digest, 'hex'));
  return Buffer.concat([0, 1, 2, 3].map((i) => events.filter(({ imr }) => imr === i).reduce(extend, Buffer.alloc(48))));
}

/** Of a certificate whose signature ends in s: below half the order, DER needs no more than 32 bytes and no sign byte. */
function isLow(der) {
  const bits = 8 + der.readUInt16BE(6) + 12;
  const s = der.subarray(bits + 5 + 2 + der[bits + 6]);
  return number(s.subarray(2)) <= P256_HALF;
}

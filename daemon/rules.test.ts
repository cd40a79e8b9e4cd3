import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { INTEL_ROOT_DER } from '../actors/evidence.ts';
import { diff } from '../config/diff.ts';
import { loadConfig } from '../config/load.ts';
import { evidenceRules, ruleFlaws } from './rules.ts';

const folder = mkdtempSync(join(tmpdir(), 'aegis-rules-'));
afterAll(() => rmSync(folder, { recursive: true }));

function load(text: string) {
  const file = join(folder, 'own.toml');
  writeFileSync(file, text);
  return loadConfig({ file, environment: {} }).config;
}
const rules = (text: string) => evidenceRules(load(`[attestation.policy]\n${text}`));

describe('[attestation.policy]', () => {
  it('left empty, publishes what still attests, under the roots of makers of hardware', () => {
    const found = evidenceRules(loadConfig({ environment: {} }).config);
    expect(found.tcb_statuses).toContain('OutOfDate');
    expect(found.tcb_statuses).not.toContain('Revoked');
    expect(found.roots).toContain(INTEL_ROOT_DER);
    expect(found).toMatchObject({ amd_crl: 'required', event_log: 'if_present' });
    expect(found.measurements).toBeUndefined();
  });

  it('has the keys of a policy file', () => {
    const found = rules(`tcb_statuses = ["UpToDate"]
advisories = []
collateral_age_max_s = 2592000
event_log = "required"
compose_hashes = ["0x${'ab'.repeat(32)}"]

[attestation.policy.snp_tcb_min.Milan]
snp = 23

[[attestation.policy.measurements]]
mrtd = "0x${'cd'.repeat(48)}"
`);
    expect(found).toMatchObject({
      tcb_statuses: ['UpToDate'],
      advisories: [],
      collateral_age_max_ms: 2_592_000_000,
      event_log: 'required',
      snp_tcb_min: { Milan: { snp: 23 } },
      measurements: [{ mrtd: `0x${'cd'.repeat(48)}` }],
    });
  });

  it.each([
    ['tcb_status = ["UpToDate"]', 'attestation.policy.tcb_status'],
    ['tcb_statuses = []', 'attestation.policy.tcb_statuses'],
    ['collateral_age_max_s = 0', 'attestation.policy.collateral_age_max_s'],
    ['measurements = [{}]', 'attestation.policy.measurements[0]'],
    ['measurements = [{ mrtd = "0x12" }]', 'attestation.policy.measurements[0].mrtd'],
    ['snp_tcb_min = { Rome = {} }', 'attestation.policy.snp_tcb_min'],
    ['log_id = "0x00"', 'attestation.policy.log_id'],
  ])('%s is refused by name', (text, key) => {
    expect(() => rules(text)).toThrow(key);
  });

  it.each([
    ['tcb_status = ["UpToDate"]', '2:1 attestation.policy.tcb_status: unknown key, did you mean tcb_statuses?'],
    ['\ntcb_statuses = []', '3:16 attestation.policy.tcb_statuses = […]: '],
    ['event_log = "always"', '2:13 attestation.policy.event_log = "always": '],
    ['tcb_statuses = [\n"UpToDate", 7]', '2:1 attestation.policy.tcb_statuses[1]: '],
    ['measurements = [{}]', '2:1 attestation.policy.measurements[0]: '],
    ['measurements = [{ mrtd = "0x12" }]', '2:26 attestation.policy.measurements[0].mrtd = "0x12": '],
    ['[[attestation.policy.measurements]]\nmrtd = "0x12"', '3:8 attestation.policy.measurements[0].mrtd = "0x12": '],
    ['[attestation.policy.snp_tcb_min.Milan]\nsnp = 256', '3:7 attestation.policy.snp_tcb_min.Milan.snp = 256: '],
    ['log_id = "0x00"', '2:1 attestation.policy.log_id: unknown key'],
  ])('%s is refused by file, line and key', (text, message) => {
    const file = join(folder, 'own.toml');
    writeFileSync(file, `[attestation.policy]\n${text}\n`);
    expect(() => loadConfig({ file, environment: {}, check: ruleFlaws })).toThrow(`${file}:${message}`);
  });

  it('is a table', () => {
    expect(() => load('[attestation]\npolicy = "strict"\n')).toThrow('expected a table of rules, not a string');
  });

  it('is part of what a reload compares', () => {
    const [one, same, other] = ['UpToDate', 'UpToDate', 'OutOfDate'].map((status) =>
      load(`[attestation.policy]\ntcb_statuses = ["${status}"]\n`),
    );
    expect(diff(one!, same!)).toEqual([]);
    expect(diff(one!, other!)).toMatchObject([{ key: 'attestation.policy', live: false }]);
  });
});

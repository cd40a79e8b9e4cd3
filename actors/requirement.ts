// What a policy requires of evidence that is genuine: how old its collateral may be, which statuses and advisories it may have,
// what it must attest, which enclave it must be and, by the event log, which application. verification.ts calls this last, so
// that these codes mean: genuine, but not what was asked for. What is asked for and isn't there is refused.
import { Refused, refuse } from './check.ts';
import { equal, hex, utf8 } from './encoding.ts';
import { onlyPayload, type Replay, replay } from './eventlog.ts';
import type { AllowedEnclave, Claims, EvidencePolicy, Genuine } from './evidence.ts';

export function requireFresh({ issued_ms }: Pick<Genuine, 'issued_ms'>, policy: EvidencePolicy): void {
  const { collateral_age_max_ms, now_ms } = policy;
  if (collateral_age_max_ms === undefined) return;
  if (issued_ms === null) throw new Refused('collateral_stale', 'nothing in the collateral says when it was issued');
  if (now_ms - issued_ms > collateral_age_max_ms) {
    const most = `at most ${collateral_age_max_ms / 1000} s before ${new Date(now_ms).toISOString()}`;
    throw new Refused(
      'collateral_stale',
      `collateral issued at ${new Date(issued_ms).toISOString()}, expected ${most}`,
    );
  }
}

export function requireStatus({ status, rated, advisory_ids }: Genuine, policy: EvidencePolicy): void {
  // Unrated versions have been held against snp_tcb_min.
  if (rated && !policy.tcb_statuses.includes(status)) {
    throw new Refused('tcb_status_refused', `TCB status ${status}, expected one of ${policy.tcb_statuses.join(', ')}`);
  }
  const refused = advisory_ids.filter((id) => policy.advisories !== undefined && !policy.advisories.includes(id));
  if (refused.length > 0) throw new Refused('advisory_refused', `${refused.join(', ')}: not accepted by the policy`);
}

/** @returns null where there is no log */
export function requireLog(event_log: string | null, genuine: Genuine, policy: EvidencePolicy): Replay | null {
  if (event_log === null) {
    if (policy.event_log !== 'required') return null;
    throw new Refused('event_log_missing', 'the policy requires an event log');
  }
  const { registers } = genuine;
  if (registers === null) throw new Refused('event_log_malformed', 'only TDX quotes have registers for an event log');
  const log = refuse('event_log_malformed', 'event_log', () => replay(event_log));
  registers.forEach((register, i) => {
    if (!equal(log.registers[i]!, register)) {
      throw new Refused('event_log_mismatch', `event_log does not lead to RTMR${i} of the quote`);
    }
  });
  return log;
}

export function requireContent({ report_data, claims }: Genuine, log: Replay | null, policy: EvidencePolicy): void {
  if (policy.report_data !== undefined && !equal(report_data, policy.report_data)) {
    throw new Refused('report_data_mismatch', 'the quote attests other report data than expected');
  }
  if (policy.measurements !== undefined && !policy.measurements.some((entry) => agrees(entry, claims))) {
    throw new Refused('measurements_refused', `no allowed entry agrees with ${identityOf(claims)}`);
  }
  requireApplication(log, policy);
}

function requireApplication(log: Replay | null, policy: EvidencePolicy): void {
  for (const { event, payload } of policy.events ?? []) {
    const found = log === null ? null : onlyPayload(log.boot, event);
    if (found === null) throw new Refused('event_refused', `no event ${event}, or several, before system-ready`);
    if (payload !== undefined && hex(found) !== payload) {
      throw new Refused('event_refused', `event ${event} has the payload ${hex(found).slice(0, 130)}`);
    }
  }
  const named = (event: string) => {
    const payload = log === null ? null : onlyPayload(log.boot, event);
    return payload === null ? 'none' : hex(payload);
  };
  const app_id = named('app-id');
  if (policy.app_ids?.includes(app_id) === false) throw new Refused('app_id_refused', `app id ${app_id}`);
  const hash = log?.compose_hash ? hex(log.compose_hash) : 'none';
  if (policy.compose_hashes?.includes(hash) === false)
    throw new Refused('compose_hash_refused', `compose hash ${hash}`);
  const kms = kmsOf(log);
  if (policy.kms_roots?.includes(kms) === false) throw new Refused('kms_root_refused', `KMS root ${kms}`);
}

/** dstack measures which key provider it has as JSON, `{"name":"kms","id":"<hex of the KMS's public key>"}`. */
function kmsOf(log: Replay | null): string {
  const payload = log === null ? null : onlyPayload(log.boot, 'key-provider');
  try {
    const { name, id } = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload ?? utf8('{}')));
    return name === 'kms' && /^(?:[0-9a-f]{2})+$/.test(id) ? `0x${id}` : 'none';
  } catch {
    return 'none';
  }
}

/** Every name of the entry must be a claim and agree; an empty entry agrees with nothing. */
function agrees(entry: AllowedEnclave, claims: Claims): boolean {
  const named = Object.entries(entry);
  return (
    named.length > 0 &&
    named.every(([name, value]) => {
      const least = name.endsWith('_min');
      const claim = claims[least ? name.slice(0, -'_min'.length) : name];
      return least ? typeof claim === 'number' && claim >= Number(value) : claim === value;
    })
  );
}

function identityOf(claims: Claims): string {
  const name = ['mrtd', 'mrenclave', 'measurement'].find((each) => each in claims);
  return name === undefined ? 'it' : `${name} ${claims[name]} and what is beside it`;
}

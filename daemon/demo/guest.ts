// What a simulated dstack guest says of itself: its event log, the quotes that hold it, and Info. Called by agent.ts.
// Sources: dstack `guest-agent/src/rpc_service.rs` for the shapes, actors/eventlog.ts for the registers.
import { sha256, sha384 } from '@noble/hashes/sha2.js';
import { concat, utf8 } from '../../actors/encoding.ts';
import { canonicalEventLog, replay } from '../../actors/eventlog.ts';
import { HEADER_BYTES, little } from '../../actors/intelquote.ts';
import { type ReportField, reportField } from '../../actors/tdx.ts';

/** dstack's runtime events, as they extend RTMR3. */
const RUNTIME_EVENT = 0x08000001;
/** EV_EFI_VARIABLE_DRIVER_CONFIG, one of those that firmware measures. */
const BOOT_EVENT = 0x80000001;
/** Emitted events are kept in memory; the real log is bounded by its page. */
const EVENTS_MAX = 1_000;

const COMPOSE = JSON.stringify({ manifest_version: 2, name: 'aegis', runner: 'docker-compose', kms_enabled: true });
const KEY_PROVIDER = JSON.stringify({ name: 'kms', id: 'simulated' });
const VM_CONFIG = JSON.stringify({ spec_version: 1, os_image_hash: sha256(utf8('simulated')).toHex(), cpu_count: 2 });

interface Event {
  readonly imr: number;
  readonly event_type: number;
  readonly digest: string;
  readonly event: string;
  readonly event_payload: string;
}

export type MakeQuote = (fields: Partial<Record<ReportField, Uint8Array>>) => Uint8Array;

export class Guest {
  readonly #app_id: Uint8Array;
  readonly #makeQuote: MakeQuote;
  readonly #events: Event[];

  constructor(app_id: Uint8Array, makeQuote: MakeQuote) {
    this.#app_id = app_id;
    this.#makeQuote = makeQuote;
    const boot = [0, 1, 2].map((imr): Event => {
      const payload = utf8(`simulated boot event of RTMR${imr}`);
      const digest = sha384(payload).toHex();
      return { imr, event_type: BOOT_EVENT, digest, event: '', event_payload: payload.toHex() };
    });
    this.#events = [
      ...boot,
      runtime('system-preparing', ''),
      runtime('app-id', app_id.toHex()),
      runtime('compose-hash', sha256(utf8(COMPOSE)).toHex()),
      runtime('instance-id', app_id.toHex()),
      runtime('boot-mr-done', ''),
      runtime('key-provider', utf8(KEY_PROVIDER).toHex()),
      runtime('system-ready', ''),
    ];
  }

  /** @returns false when the log is full */
  emit(name: string, payload: Uint8Array): boolean {
    if (this.#events.length >= EVENTS_MAX) return false;
    this.#events.push(runtime(name, payload.toHex()));
    return true;
  }

  /** @param report_data  64 bytes */
  quote(report_data: Uint8Array) {
    const event_log = JSON.stringify(this.#events);
    const quote = this.#quote(report_data).toHex();
    return { quote, event_log, report_data: report_data.toHex(), vm_config: VM_CONFIG };
  }

  info() {
    const report = this.#quote(new Uint8Array(64)).subarray(HEADER_BYTES);
    const of = (field: ReportField) => reportField(report, field).toHex();
    const registers = {
      mrtd: of('mrtd'),
      rtmr0: of('rtmr0'),
      rtmr1: of('rtmr1'),
      rtmr2: of('rtmr2'),
      rtmr3: of('rtmr3'),
    };
    const hashes = {
      mr_aggregated: sha256(utf8(Object.values(registers).join())).toHex(),
      os_image_hash: sha256(utf8('simulated')).toHex(),
      compose_hash: sha256(utf8(COMPOSE)).toHex(),
      device_id: sha256(utf8('simulated device')).toHex(),
    };
    const tcb_info = { ...registers, ...hashes, event_log: this.#events, app_compose: COMPOSE };
    return {
      app_id: this.#app_id.toHex(),
      instance_id: this.#app_id.toHex(),
      app_cert: '',
      tcb_info: JSON.stringify(tcb_info, null, 2),
      app_name: 'aegis',
      ...hashes,
      key_provider_info: KEY_PROVIDER,
      vm_config: VM_CONFIG,
      cloud_vendor: '',
      cloud_product: '',
    };
  }

  #quote(report_data: Uint8Array): Uint8Array {
    const { registers } = replay(canonicalEventLog(JSON.stringify(this.#events)));
    const [rtmr0, rtmr1, rtmr2, rtmr3] = registers as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    return this.#makeQuote({ report_data, rtmr0, rtmr1, rtmr2, rtmr3 });
  }
}

function runtime(event: string, event_payload: string): Event {
  const preimage = concat(little(RUNTIME_EVENT, 4), utf8(`:${event}:`), Uint8Array.fromHex(event_payload));
  return { imr: 3, event_type: RUNTIME_EVENT, digest: sha384(preimage).toHex(), event, event_payload };
}

// The way of a transaction (DESIGN §2): the rooms that admit, order and open, and seal; and whoever performs what they owe. Called by
// assembly.ts: `openWay` once there are keys and evidence, `performers` when all rooms are there and the outbox is to be performed.
import type { Rooms } from '../assembly.ts';
import { Cutter } from '../cutter.ts';
import { Intake } from '../intake.ts';
import type { Runtime } from '../runtime.ts';
import { Sealer } from '../sealer.ts';
import { configDigest } from '../settings.ts';
import { Signer } from '../signer.ts';
import type { Ground } from './ground.ts';

/** Intake, cutter and sealer; signing has no room, but a performer. */
export function openWay(rooms: Rooms, ground: Ground): void {
  const { config, now, fatal, onRefused, onFault, watermark } = ground;
  const { runtime, store, mempool, pool, epochs, rotator, risk, attester } = rooms;
  const { log } = epochs;
  rooms.intake = new Intake({
    runtime,
    store,
    mempool,
    log,
    receiptKey: (epoch) => epochs.signing(epoch).receipt,
    options: () => ({ ...config.mempool, ...config.sequencer, ...config.ordering, ...risk.allowed }),
    now,
    aging: () => rooms.clock.aging(),
  });
  rooms.cutter = new Cutter({
    runtime,
    store,
    mempool,
    pool,
    log,
    keys: (wanted) => epochs.opening(wanted),
    options: () => ({
      ...config.sequencer,
      ordering: config.ordering,
      // Since the settings wait for a restart, the epoch's own key says what was set when it was made.
      hybrid_ecdsa: risk.allowed.ecdsa,
      attested: rooms.isAttested(),
    }),
    holds: (reader) => rooms.handover.holds(reader) || rotator.holdsCuts(reader) || risk.holdsCuts(reader),
    witnessed: rooms.witnessed,
    now,
    onRefused,
    onFault,
    fatal,
  });
  rooms.sealer = new Sealer({
    runtime,
    store,
    pool,
    attester,
    witnessed: rooms.witnessed,
    watermark,
    epochs,
    log,
    get config_digest() {
      return configDigest(config);
    },
    interval_ms: () => (risk.inEmergency ? 0 : config.seal.interval_ms),
    holds: (reader) => rotator.holdsSeals(reader),
    retention_batches: config.store.retention_batches,
    now,
    onFault,
    fatal,
  });
}

/** Whoever performs each kind of effect, also what the last life left owed. */
export function performers(rooms: Rooms, { config, now, watermark }: Ground): Parameters<Runtime['start']>[0] {
  const { store, pool, epochs, cutter, sealer, rotator, risk } = rooms;
  const { in_flight_max } = config.sequencer;
  const timeout_ms = config.workers.task_timeout_ms;
  const signer = new Signer({ pool, watermark });
  return [
    cutter.performer(in_flight_max, timeout_ms),
    signer.performer({
      store,
      epochs,
      chain_id: epochs.log.chain_id,
      in_flight_max,
      timeout_ms,
      witnessed: rooms.witnessed,
      now,
      onSigned: () => {
        cutter.wake();
        sealer.wake();
        rotator.wake();
        rooms.checkpoints.wake();
      },
    }),
    ...rooms.checkpoints.performers(timeout_ms),
    ...rooms.migrations.performers(timeout_ms),
    sealer.performer(timeout_ms + config.attestation.quote_timeout_ms, () => {
      rotator.wake();
      if (risk.inEmergency) cutter.wake();
    }),
    risk.performer((wish) => rotator.rotate(wish), timeout_ms),
  ];
}

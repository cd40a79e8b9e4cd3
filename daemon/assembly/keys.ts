// The rooms of keys: the epochs, what is wrapped by them (assets' data keys and names), and the rotation that makes the next. Called by
// assembly.ts, in this order; what these rooms ask of later ones they ask when it happens, through the assembly.
import { foundAdmins } from '../admins.ts';
import type { Rooms } from '../assembly.ts';
import { AssetData } from '../assetdata.ts';
import { receiptEpoch } from '../epoch.ts';
import { openEpochs } from '../epochs.ts';
import { Mempool } from '../mempool.ts';
import { Names } from '../names.ts';
import { provenKeys } from '../proof.ts';
import { Registry } from '../registry.ts';
import { Rotator } from '../rotator.ts';
import { Wrapping } from '../wrapping.ts';
import type { Ground } from './ground.ts';

/** Epochs, the pool that is admitted under them, and what is wrapped by them. */
export async function openKeys(rooms: Rooms, ground: Ground): Promise<void> {
  const { config, log, now, fatal, source, onFault } = ground;
  const { store, runtime, pool, clock } = rooms;
  const aging = () => clock.aging();
  rooms.epochs = await openEpochs({
    store,
    runtime,
    source,
    chain_id: String(config.chain.chain_id),
    now,
    derive: (epoch) => provenKeys({ source, pool }, epoch, config.quantum.hybrid_ecdsa),
    found: (step, log_id) => foundAdmins(step, log_id, config.admin.keys),
  });
  const { epochs } = rooms;
  rooms.mempool = Mempool.load(store);
  rooms.wrapping = new Wrapping({
    store,
    epochs,
    pool,
    options: () => config.rotation,
    now: aging,
    log,
    onEmptied: () => rooms.rotator.wake(),
    fatal,
  });
  const { wraps } = rooms.wrapping;
  rooms.assets = new Registry({ runtime, store, wraps, now, onChanged: () => rooms.sealer.wake() });
  rooms.assetData = new AssetData({ runtime, store, wraps, epochs, attested: () => rooms.isAttested() });
  rooms.names = new Names({
    ...{ store, wraps, pool, epochs, fatal },
    now: aging,
    held: () => clock.held,
    options: () => config.names,
    accepts: (epoch) => receiptEpoch(store, epoch, aging()) !== undefined,
    onEmptied: () => rooms.rotator.wake(),
    onFault,
  });
}

/** Who announces the next epoch, and executes it. */
export function openRotation(rooms: Rooms, ground: Ground): void {
  const { config, fatal, source, onFault } = ground;
  const { runtime, store, pool, epochs, clock } = rooms;
  rooms.rotator = new Rotator({
    runtime,
    store,
    epochs,
    source: source.name,
    derive: (epoch) => provenKeys({ source, pool }, epoch, config.quantum.hybrid_ecdsa && rooms.risk.allowed.ecdsa),
    backlog: (reader, epoch) => rooms.wrapping.wraps.backlog(reader, epoch),
    options: () => config.rotation,
    now: () => clock.aging(),
    held: () => clock.held,
    onAnnounced: () => rooms.sealer.wake(),
    onUnsealed: () => rooms.sealer.hurry(),
    onExecuted: () => {
      rooms.witnessed?.renew();
      rooms.keysetQuote.start();
      rooms.cutter.wake();
      rooms.sealer.wake();
    },
    onFault,
    fatal,
  });
}

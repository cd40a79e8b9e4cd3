// Backups of a running daemon: whole while it works, opened by its own keys alone, put back only where none runs, and recognised
// when they are older than what was signed.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { enveloped, openHouse, quiet } from '../test/house.ts';
import { Backups, readManifest, restore } from './backup.ts';
import { createSequencer } from './sequencer.ts';

const BY_HAND = { sequencer: { batch_interval_ms: 60_000, batch_size: 50 } };

it('is whole, and an older one is put back but never signs', async () => {
  const kept = mkdtempSync(join(tmpdir(), 'aegis-backup-'));
  try {
    await using house = await openHouse(BY_HAND);
    const { sequencer } = house;
    const { log_id } = sequencer.epoch.log;
    const backups = new Backups({ store: sequencer.store, folder: join(kept, 'backups'), now: Date.now });
    const [backup, same] = await Promise.all([backups.take(), backups.take()]);
    expect(same).toBe(backup);
    expect(readManifest(backup.folder)).toEqual(backup.manifest);
    expect(backup.manifest).toMatchObject({ log_id, height: 0 });
    expect(existsSync(join(backup.folder, 'watermark'))).toBe(false);

    await sequencer.submitEncrypted(await enveloped(sequencer));
    await sequencer.createBatch();
    await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(0));
    const store = join(house.state_dir, 'store');
    expect(() => restore(backup.folder, store, undefined, 0)).toThrow(/in use/);
    await sequencer.close();

    const newest = { log_id, size: 3 };
    const data = readFileSync(join(store, 'data.mdb'));
    expect(restore(backup.folder, store, newest, 0)).toMatchObject({ ok: false, code: 'backup_outdated' });
    expect(restore(backup.folder, store, { log_id: `0x${'00'.repeat(64)}`, size: 0 }, 0)).toMatchObject({
      ok: false,
      code: 'backup_foreign',
    });
    expect(restore(kept, store, undefined, 0)).toMatchObject({ ok: false, code: 'backup_unreadable' });
    expect(readFileSync(join(store, 'data.mdb')).equals(data)).toBe(true);

    const outcome = restore(backup.folder, store, undefined, 0);
    if (!outcome.ok) throw new Error(outcome.code);
    expect(readFileSync(outcome.before!).equals(data)).toBe(true);
    const again = () => createSequencer({ config: sequencer.config, log: quiet });
    await expect(again()).rejects.toMatchObject({ code: 'store_rolled_back' });

    // The newest copy goes on as if nothing had been.
    cpSync(outcome.before!, join(store, 'data.mdb'));
    await using back = await again();
    expect(back.batch(0)).toMatchObject({ height: 0 });
  } finally {
    rmSync(kept, { recursive: true, force: true });
  }
});

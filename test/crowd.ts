// Many that follow the feed and say nothing: for the drills, few in the normal suite and ten thousand in the long one.
import { once } from 'node:events';
import { expect } from 'vitest';
import type { Drilled } from './drilled.ts';

/** Addresses that the crowd comes from, so that none has more than its share. */
const PER_ADDRESS = 250;
/** Opened at once. */
const TOGETHER = 100;

/** Connects them, submits two transactions, and waits until everyone has heard of both. */
export async function idleClients(daemon: Drilled, count: number): Promise<void> {
  const crowd = [];
  for (let i = 0; i < count; i += TOGETHER) {
    const some = Array.from({ length: Math.min(TOGETHER, count - i) }, (_, j) =>
      daemon.follow(`127.0.1.${1 + Math.floor((i + j) / PER_ADDRESS)}`),
    );
    crowd.push(...(await Promise.all(some)));
  }
  try {
    for (let entry = 0; entry < 2; entry++) {
      const heard = crowd.map((ws) => once(ws, 'message'));
      expect(await daemon.submit()).toMatchObject({ status: 202 });
      await Promise.all(heard);
    }
    expect(await daemon.ready()).toMatchObject({ ready: true });
  } finally {
    for (const ws of crowd) ws.terminate();
  }
}

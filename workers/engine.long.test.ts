// 200 messages of SLH-DSA-SHA2-256s each way, some ten minutes; ML-DSA-87's 200 are in engine.test.ts.
import { generateKeyPairSync } from 'node:crypto';
import { it } from 'vitest';
import { compare } from '../test/differential.ts';
import { openssl } from './engine.ts';
import { noble } from './noble.ts';

it.each([
  [openssl, noble],
  [noble, openssl],
])('200 messages: %# signs with SLH-DSA, the other verifies, and both refuse what was altered', (...pair) => {
  const keys = Array.from({ length: 4 }, () => generateKeyPairSync('slh-dsa-sha2-256s').privateKey);
  for (let round = 0; round < 200; round++) compare('slh_dsa_sha2_256s', pair, keys[round % 4]!, round, false);
});

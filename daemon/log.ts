// The append-only log in the store (DESIGN §3 "Why a log"): entries, the hash of every complete subtree, roots and proofs.
// Appending happens inside a step, so an entry is in the log when the step is durable and never otherwise.
import { fromHex, hex } from '../actors/encoding.ts';
import type { SignedHead } from '../actors/head.ts';
import {
  append,
  consistencyPath,
  inclusionPath,
  LOG_KINDS,
  type LogKind,
  logLeaf,
  type ReadNode,
  rootAt,
} from '../actors/tree.ts';
import { keysetRecord, meta, putMeta, sealRecord } from './records.ts';
import type { Reader, Transaction } from './store.ts';

/** @returns the leaf's index */
export function appendLog(step: Transaction, kind: LogKind, digest: string): number {
  const log = meta(step, 'log');
  const index = log.size;
  step.put('log', index, { kind: LOG_KINDS.indexOf(kind), digest });
  for (const node of append(index, logLeaf(kind, fromHex(digest)), readNode(step))) {
    step.put('nodes', [node.level, node.index], node.hash);
  }
  putMeta(step, 'log', { ...log, size: index + 1 });
  return index;
}

/** @param size  at most the log's size */
export function logRoot(reader: Reader, size: number): string {
  return hex(rootAt(size, readNode(reader)));
}

export function inclusionProof(reader: Reader, leaf_index: number, size: number): string[] {
  return inclusionPath(leaf_index, size, readNode(reader)).map(hex);
}

export function consistencyProof(reader: Reader, from: number, size: number): string[] {
  return consistencyPath(from, size, readNode(reader)).map(hex);
}

/** Undefined unless there is a finished seal of exactly this size. */
export function signedHead(reader: Reader, size: number): SignedHead | undefined {
  const record = sealRecord(reader, size);
  if (record === undefined || record.signed === null) return undefined;
  const { head, digest, signed } = record;
  return {
    seal: head,
    digest,
    slh_dsa_sig: { algorithm: 'SLH-DSA-SHA2-256s', signature: signed.slh_dsa },
    ml_dsa_sig: { algorithm: 'ML-DSA-87', signature: signed.ml_dsa },
    attestation: signed.attestation,
    keyset: keysetRecord(reader, head.epoch)!.keyset,
  };
}

function readNode(reader: Reader): ReadNode {
  return (level, index) => {
    const hash = reader.get('nodes', [level, index]);
    if (hash === undefined) throw new Error(`the log has no node ${index} at level ${level}`);
    return hash;
  };
}

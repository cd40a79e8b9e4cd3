// What an admin's signed order does to the risk score (DESIGN §9): puts another in its place for a time, or gives back what an
// emergency took away. Each is part of the order's own step; the room assesses anew when it is durable. Nothing else lowers
// what the score has raised.
import type { Scheme } from '../../actors/envelope.ts';
import { putMeta, riskRecord } from '../records.ts';
import type { Transaction } from '../store.ts';

/** @param override  null gives the computed score its place back. @returns whether there is a score yet */
export function overrideRisk(step: Transaction, override: { score: number; until_ms: number } | null): boolean {
  const record = riskRecord(step);
  if (record === undefined) return false;
  putMeta(step, 'risk', { ...record, override });
  return true;
}

/** Envelopes at once; signatures from the next epoch on, whose keys are made then. @returns whether there is a score yet */
export function allowAgain(step: Transaction, ecdsa: boolean, schemes: readonly Scheme[]): boolean {
  const record = riskRecord(step);
  if (record === undefined) return false;
  putMeta(step, 'risk', { ...record, allowed: { ecdsa, schemes } });
  return true;
}

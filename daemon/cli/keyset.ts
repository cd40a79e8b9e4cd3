// The keyset that a command encrypts to: asked for with a fresh nonce and verified as a wallet verifies it. Without a policy
// only a simulated platform is accepted, and what that is worth is said; hardware needs a policy that names it.
import { randomBytes } from 'node:crypto';
import { FreshAttestation } from '../../actors/quote.ts';
import { type VerifiedKeyset, verifyKeyset } from '../../client/trust.ts';
import { type Connection, RequestError } from './connection.ts';
import { readPolicy } from './file.ts';

/** @throws {RequestError} with the code of the check that failed; {UsageError} for a policy that can't be read */
export async function attestedKeyset(connection: Connection, policyFile?: string): Promise<VerifiedKeyset> {
  const policy = policyFile === undefined ? {} : { policy: readPolicy(policyFile) };
  const nonce = new Uint8Array(randomBytes(32));
  const answer = await connection.get(`/attestation?nonce=${nonce.toHex()}`, FreshAttestation);
  const found = verifyKeyset(answer, { ...policy, nonce, allow_simulated: policyFile === undefined });
  if (found.ok) return found;
  throw new RequestError(found.code, `the keyset was not verified: ${found.code}, ${found.field}: ${found.message}`);
}

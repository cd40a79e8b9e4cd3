import { describe, expect, it } from 'vitest';
import { Fault } from '../fault.ts';
import { PROBLEM_CODES, PROBLEMS, Problem, problem, problemOf, rawProblem } from './problem.ts';

describe('problems', () => {
  it('are RFC 9457 documents with a status of their own', () => {
    for (const code of PROBLEM_CODES) {
      const found = Problem.parse(problem(code));
      expect(found).toEqual({
        type: `urn:aegis:problem:${code}`,
        title: PROBLEMS[code][1],
        status: PROBLEMS[code][0],
        code,
        remedy: PROBLEMS[code][2],
      });
      expect(found.status).toBeGreaterThanOrEqual(400);
    }
  });

  it.each([
    [new Fault({ code: 'store_io', path: '/var/lib/secret', reason: 'EIO' }), 'store_unavailable'],
    [new Fault({ code: 'store_busy', waiting: 5 }), 'store_unavailable'],
    [new Fault({ code: 'quote_failed', provider: 'tsm', reason: 'secret' }), 'attestation_unavailable'],
    [new Fault({ code: 'quote_busy', waiting: 64 }), 'attestation_unavailable'],
    [new Fault({ code: 'key_source_failed', reason: 'secret' }), 'keys_unavailable'],
    [new TypeError('secret'), 'internal_error'],
    [Object.assign(new Error('secret'), { statusCode: 418 }), 'bad_request'],
    [Object.assign(new Error('secret'), { statusCode: 502 }), 'internal_error'],
    [Object.assign(new Error('secret'), { code: 'FST_ERR_CTP_BODY_TOO_LARGE', statusCode: 413 }), 'body_too_large'],
    ['secret', 'internal_error'],
  ] as const)('tell nothing of %s but %s', (error, code) => {
    const found = problemOf(error);
    expect(found.code).toBe(code);
    expect(JSON.stringify(found)).not.toContain('secret');
    if (found.status === 503) expect(found.retry_after_s).toBe(1);
  });

  it('can be said on a bare connection', () => {
    const [head, body] = rawProblem('request_timeout').split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
    expect(head).toContain(`Content-Length: ${Buffer.byteLength(body!)}`);
    expect(JSON.parse(body!)).toEqual(problem('request_timeout'));
  });
});

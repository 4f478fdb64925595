import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { ManualClock } from '../core/kernel/testing/manual-clock.ts';
import { packageRoot } from '../core/runtime/package-root.ts';
import { PeopleMap } from '../gateway/contract/people-map.ts';
import { GITHUB_ACTIONS_MAPPING } from '../gateway/identity/claim-mapping.ts';
import { IdentityVerifier } from '../gateway/identity/identity-verifier.ts';
import { fixedKeySource, parseKeySet } from '../gateway/identity/key-set.ts';
import { EXIT } from './exit-code.ts';
import { jsonOf, runCaptured } from './testing/captured-io.ts';

const root = packageRoot();
const demo = join(root, 'deploy', 'demo', 'chaperone.yaml');
const clock = new ManualClock(Date.UTC(2026, 6, 1));
const directory = mkdtempSync(join(tmpdir(), 'chaperone-token-'));

after(() => rmSync(directory, { recursive: true, force: true }));

/** The gateway's own verifier with what the demo gives it. */
function verifier(): IdentityVerifier {
  const jwks = readFileSync(join(root, 'deploy', 'demo', 'keys', 'issuer.INSECURE.jwks.json'), 'utf8');
  return new IdentityVerifier({
    audience: 'chaperone',
    issuers: [
      {
        iss: 'https://issuer.demo.chaperone.invalid',
        keys: fixedKeySource(parseKeySet(jwks)),
        mapping: GITHUB_ACTIONS_MAPPING,
      },
    ],
    people: PeopleMap.parse(JSON.parse(readFileSync(join(root, 'policies', 'people.json'), 'utf8'))),
    clock,
  });
}

async function token(...args: string[]): Promise<string> {
  const { exit, out, err } = await runCaptured(['token', ...args, '--config', demo], { clock });
  equal(exit, EXIT.ok, err.join('\n'));
  equal(out.length, 1);
  return out[0] ?? '';
}

describe('chaperone token', () => {
  test('prints a token that the gateway accepts: the person at the root, the agent as actor, the run', async () => {
    const subject = verifier().verify(await token());
    equal(subject.principal.sub, 'dana@demo.invalid');
    equal(subject.principal.kind, 'user');
    equal(subject.person, 'dana');
    deepEqual(
      subject.actors.map(({ sub, kind }) => [sub, kind]),
      [['coding-agent', 'ai_agent']],
    );
    equal(subject.ci?.repository, 'clinic/etl');
    equal(subject.ci?.runId, '7041');
    equal(subject.ci?.scriptDigest, '');
  });

  test('says what it is told: person, agent, run, commit, script, life', async () => {
    const digest = 'ab'.repeat(32);
    const args = ['--person', 'robin', '--agent', 'none', '--run', '9', '--commit', 'c0ffee', '--ttl', '60'];
    const text = await token(...args, '--script-digest', digest);
    const subject = verifier().verify(text);
    equal(subject.person, 'robin');
    deepEqual(subject.actors, []);
    deepEqual([subject.ci?.runId, subject.ci?.sha, subject.ci?.scriptDigest], ['9', 'c0ffee', digest]);
    const claims = JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      exp: number;
      iat: number;
    };
    equal(claims.exp - claims.iat, 60);
  });

  test('no two tokens are the same, and --json says when it expires', async () => {
    ok((await token()) !== (await token()));
    const said = jsonOf<{ token: string; expiresMs: number }>(
      await runCaptured(['token', '--json', '--config', demo], { clock }),
    );
    equal(said.expiresMs, clock.nowMs() + 3_600_000);
    match(said.token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
  });

  test('signs nothing unless env is demo, whatever key it is given', async () => {
    const path = join(directory, 'staging.yaml');
    writeFileSync(path, 'env: staging\npolicy: { bundle: b.tar.gz, publicKeys: [k.pem] }\n');
    const { exit, out, err } = await runCaptured(['token', '--config', path], { clock });
    equal(exit, EXIT.usage);
    deepEqual(out, []);
    match(err.join('\n'), /only with env: demo/);
  });
});

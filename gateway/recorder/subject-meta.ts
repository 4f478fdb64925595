import type { Subject as SubjectMessage } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { Subject } from '../contract/subject.ts';

/** The `Subject` of an `Event`: the verified identity, without the token and without a client's claims of itself. */
export function subjectMessage(subject: Subject, reviewed: boolean): SubjectMessage {
  return {
    principalIss: subject.principal.iss,
    principalSub: subject.principal.sub,
    principalKind: subject.principal.kind,
    person: subject.person ?? '',
    actors: subject.actors.map((actor) => ({ ...actor })),
    ci:
      subject.ci === null
        ? undefined
        : {
            repoId: subject.ci.repoId,
            repository: subject.ci.repository,
            ref: subject.ci.ref,
            sha: subject.ci.sha,
            workflow: subject.ci.workflow,
            runId: subject.ci.runId,
            environment: subject.ci.environment,
            reviewed,
            scriptDigest: subject.ci.scriptDigest,
          },
    authMethod: subject.auth.method,
    groups: [...subject.groups],
    purpose: subject.purpose,
    env: subject.env,
    tokenDigest: subject.tokenDigest,
  };
}

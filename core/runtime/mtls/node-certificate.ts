import { X509Certificate } from 'node:crypto';
import { GatewayError } from '../../kernel/errors.ts';

export const NODE_ROLES = [
  'gateway',
  'ingest',
  'sequencer',
  'witness',
  'monitor',
  'vault',
  'console',
  'auditor',
  'operator',
] as const;
export type NodeRole = (typeof NODE_ROLES)[number];

/** Who a certificate of the cluster belongs to: its SAN URI `chaperone://<cluster>/<role>/<name>`. */
export interface NodeIdentity {
  readonly cluster: string;
  readonly role: NodeRole;
  readonly name: string;
}

const PART = '[a-z0-9][a-z0-9.-]{0,62}';
const IDENTITY = new RegExp(`^chaperone://(${PART})/([a-z]+)/(${PART})$`);

/** The URI of an identity. Throws `config_invalid` when a part cannot stand in one. */
export function nodeIdentityUri(identity: NodeIdentity): string {
  const uri = `chaperone://${identity.cluster}/${identity.role}/${identity.name}`;
  if (parseNodeIdentity(uri) === null) {
    throw new GatewayError('config_invalid', 'cluster and node names are 1 to 63 of a-z 0-9 . -');
  }
  return uri;
}

/** Null when the text is not an identity of a known role. */
export function parseNodeIdentity(uri: string): NodeIdentity | null {
  const match = IDENTITY.exec(uri);
  const role = NODE_ROLES.find((known) => known === match?.[2]);
  if (match === null || role === undefined) {
    return null;
  }
  return { cluster: match[1] as string, role, name: match[3] as string };
}

/**
 * Checks a certificate (DER or PEM) against the cluster's CA certificates (PEM) and returns whose it is: issued by one
 * of them, valid at `nowMs`, not a CA itself, with exactly one identity in its names. Throws `auth_invalid`.
 *
 * Limit: one level below the CA, and no revocation: a certificate is good until it expires.
 */
export function verifyNodeCertificate(
  certificate: Buffer | string,
  caPems: string | readonly string[],
  nowMs: number,
): NodeIdentity {
  const node = parse(certificate);
  const cas = typeof caPems === 'string' ? [caPems] : caPems;
  if (node.ca || !cas.some((pem) => isIssuedBy(node, parse(pem), nowMs))) {
    throw refused('is not issued by the cluster CA');
  }
  if (!isValidAt(node, nowMs)) {
    throw refused('is not valid now');
  }
  return identityOf(node);
}

/** The identity in a certificate whose chain was already checked, by TLS for instance. Throws `auth_invalid`. */
export function identityOf(certificate: X509Certificate): NodeIdentity {
  const identities = (certificate.subjectAltName ?? '')
    .split(', ')
    .filter((name) => name.startsWith('URI:'))
    .map((name) => parseNodeIdentity(name.slice('URI:'.length)));
  const [identity] = identities;
  if (identities.length !== 1 || identity === undefined || identity === null) {
    throw refused('does not name one node of a cluster');
  }
  return identity;
}

function parse(certificate: Buffer | string): X509Certificate {
  try {
    return new X509Certificate(certificate);
  } catch {
    throw refused('is not X.509');
  }
}

function isIssuedBy(node: X509Certificate, ca: X509Certificate, nowMs: number): boolean {
  return ca.ca && isValidAt(ca, nowMs) && node.checkIssued(ca) && node.verify(ca.publicKey);
}

function isValidAt(certificate: X509Certificate, nowMs: number): boolean {
  return nowMs >= Date.parse(certificate.validFrom) && nowMs <= Date.parse(certificate.validTo);
}

function refused(why: string): GatewayError {
  return new GatewayError('auth_invalid', `the node certificate ${why}`);
}

/*
 * A cluster CA and one node of it, for tests and golden vectors only. Ed25519, valid from 2025 to 2125; the seed of the
 * node key is SHA-256("chaperone sample node"), so nobody can mistake it for a secret.
 */
import { createHash } from 'node:crypto';

export const SAMPLE_NODE_SEED: Buffer = createHash('sha256').update('chaperone sample node').digest();

export const SAMPLE_CA_PEM: string = `-----BEGIN CERTIFICATE-----
MIIBLTCB4KADAgECAgEBMAUGAytlcDAcMRowGAYDVQQDDBFzYW1wbGUgY2x1c3Rl
ciBDQTAgFw0yNTAxMDEwMDAwMDBaGA8yMTI1MDEwMTAwMDAwMFowHDEaMBgGA1UE
AwwRc2FtcGxlIGNsdXN0ZXIgQ0EwKjAFBgMrZXADIQBpzwhsCQ3NSM7ObsEzfgUn
5E/Jtj4hIQm28+D+49LAQKNFMEMwEgYDVR0TAQH/BAgwBgEB/wIBADAOBgNVHQ8B
Af8EBAMCAgQwHQYDVR0OBBYEFPzvqExTqDucuee4gr+U1eth71maMAUGAytlcANB
ABoBrdAmVw7znxZKJEaL+YUwEAr5+THvvI+9LZoZI+ryfxGCrdnddhywjHzuPA6K
GuEYEVRqbUx0yS2OcTcnww8=
-----END CERTIFICATE-----
`;

/** DER. */
export const SAMPLE_NODE_CERTIFICATE: Buffer = Buffer.from(
  'MIIBQjCB9aADAgECAgECMAUGAytlcDAcMRowGAYDVQQDDBFzYW1wbGUgY2x1c3RlciBDQTAgFw0yNTAxMDEwMDAwMDBaGA8yMTI1' +
    'MDEwMTAwMDAwMFowFjEUMBIGA1UEAwwLc2FtcGxlIG5vZGUwKjAFBgMrZXADIQB7jQmUgOny/JuvRFGR1tSeUlWAZDNXYb9JAJfW' +
    'Oa+Tj6NgMF4wDAYDVR0TAQH/BAIwADAOBgNVHQ8BAf8EBAMCB4AwHQYDVR0OBBYEFFt5hUMuBSRpeLlnBL7mGkDRCzaUMB8GA1Ud' +
    'IwQYMBaAFPzvqExTqDucuee4gr+U1eth71maMAUGAytlcANBAJ5acSYMHpYz1Fw8o6OtOhpSgXvAuQ2Y8uf8VoWf4Z9v/FNQHsEc' +
    '+a2YDlw/YAbFmRhQg/po/WBOrF1HYm1E4wg=',
  'base64',
);

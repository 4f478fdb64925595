import { startClinic } from './clinic-service.ts';

/** `node clinic-process.js <clinic port> <analytics port> <service token>`; ends with its standard input or SIGTERM. */
const [clinicPort, analyticsPort, serviceToken] = process.argv.slice(2);
if (clinicPort === undefined || analyticsPort === undefined || serviceToken === undefined) {
  process.stderr.write('usage: clinic-process <clinic port> <analytics port> <service token>\n');
  process.exit(2);
}
const clinic = await startClinic({
  host: '127.0.0.1',
  clinicPort: Number(clinicPort),
  analyticsPort: Number(analyticsPort),
  serviceToken,
});
process.stdout.write(
  `${JSON.stringify({ ready: true, clinicPort: clinic.clinicPort, analyticsPort: clinic.analyticsPort })}\n`,
);
process.once('SIGTERM', () => void clinic.close().then(() => process.exit(0)));

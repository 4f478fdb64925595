import { startFileBus } from '../file-bus-process.ts';

/** The file bus as a process that tests can kill: `node owner-main.js <directory> <socket path> [segment bytes]`. */
const [directory, socketPath, segmentBytes] = process.argv.slice(2);
if (directory === undefined || socketPath === undefined) {
  throw new Error('usage: owner-main <directory> <socket path> [segment bytes]');
}
await startFileBus({
  directory,
  socketPath,
  ...(segmentBytes === undefined ? {} : { segmentBytes: Number(segmentBytes) }),
});
process.stdout.write('ready\n');

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import { packageRoot } from '../../core/runtime/package-root.ts';

/**
 * Makes `deploy/demo/data/contacts.csv` and `notes.csv`: phones, e-mails and clinical notes, which the Synthea tables
 * lack. Seeded, so the committed files can be made again byte for byte. All persons are invented.
 */
const SEED = 20_260_101;

const NOTE_TEMPLATES = [
  'Pt {first} {last} seen for {reason}. Call back at {phone} with results.',
  '{first} {last} (SSN {ssn}, DOB {dob}) presents with {reason}. Reviewed labs, continue current plan.',
  'Spoke with spouse. Best e-mail is {email}. Follow-up for {reason} in two weeks.',
  '{reason}: stable, no acute distress. BP 128/82, HR 74. Return if worse.',
  'Referral faxed. Card on file {card}. Reason for visit: {reason}.',
  'Telephone encounter, {phone}. {first} reports improvement of {reason} since last visit on {visit}.',
];

export function generateDemoData(dataDir: string): { readonly contacts: string; readonly notes: string } {
  const random = new SeededRandom(SEED);
  const patients = rows(readFileSync(join(dataDir, 'patients.csv'), 'utf8'));
  const encounters = rows(readFileSync(join(dataDir, 'encounters.csv'), 'utf8'));
  const contacts = ['PATIENT,PHONE,EMAIL'];
  const contactOf = new Map<string, { phone: string; email: string }>();
  for (const patient of patients) {
    const phone = `(${200 + random.below(700)}) 555-${String(1000 + random.below(9000))}`;
    const email = `${name(patient, 'FIRST')}.${name(patient, 'LAST')}${random.below(100)}@example.com`.toLowerCase();
    contacts.push(`${patient.get('ID')},${phone},${email}`);
    contactOf.set(patient.get('ID') ?? '', { phone, email });
  }
  const notes = ['ID,PATIENT,ENCOUNTER,DATE,AUTHOR,TEXT'];
  let number = 1;
  for (const patient of patients) {
    const own = encounters.filter((encounter) => encounter.get('PATIENT') === patient.get('ID')).slice(0, 3);
    for (const encounter of own) {
      const contact = contactOf.get(patient.get('ID') ?? '');
      const text = random
        .pick(NOTE_TEMPLATES)
        .replaceAll('{first}', name(patient, 'FIRST'))
        .replaceAll('{last}', name(patient, 'LAST'))
        .replaceAll('{ssn}', patient.get('SSN') ?? '')
        .replaceAll('{dob}', patient.get('BIRTHDATE') ?? '')
        .replaceAll('{phone}', contact?.phone ?? '')
        .replaceAll('{email}', contact?.email ?? '')
        .replaceAll('{card}', cardNumber(random))
        .replaceAll('{visit}', (encounter.get('START') ?? '').slice(0, 10))
        .replaceAll(
          '{reason}',
          (encounter.get('REASONDESCRIPTION') || encounter.get('DESCRIPTION') || 'check-up').toLowerCase(),
        );
      notes.push(
        [
          `note-${String(number++).padStart(4, '0')}`,
          patient.get('ID'),
          encounter.get('ID'),
          encounter.get('START'),
          encounter.get('PROVIDER'),
          `"${text.replaceAll('"', '""')}"`,
        ].join(','),
      );
    }
  }
  return { contacts: `${contacts.join('\n')}\n`, notes: `${notes.join('\n')}\n` };
}

/** A Luhn-valid number of a test range. */
function cardNumber(random: SeededRandom): string {
  const digits = [4, 1, 1, 1, ...Array.from({ length: 11 }, () => random.below(10))];
  let sum = 0;
  digits.forEach((digit, i) => {
    const doubled = i % 2 === 0 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  });
  return [...digits, (10 - (sum % 10)) % 10].join('').replace(/(\d{4})(?=\d)/g, '$1 ');
}

/** Synthea appends numbers to names; notes read better without. */
function name(patient: ReadonlyMap<string, string>, column: string): string {
  return (patient.get(column) ?? '').replace(/\d+$/, '');
}

/** The tables have no quoted commas: a plain split is enough for them. */
function rows(text: string): Map<string, string>[] {
  const [header = '', ...lines] = text.trim().split(/\r?\n/);
  const columns = header.split(',').map((column) => column.toUpperCase());
  return lines.map((line) => new Map(line.split(',').map((value, i) => [columns[i] ?? '', value])));
}

if (process.argv[1]?.endsWith('generate.js') === true && process.argv.includes('--write')) {
  const dir = join(packageRoot(), 'deploy', 'demo', 'data');
  const { contacts, notes } = generateDemoData(dir);
  writeFileSync(join(dir, 'contacts.csv'), contacts);
  writeFileSync(join(dir, 'notes.csv'), notes);
}

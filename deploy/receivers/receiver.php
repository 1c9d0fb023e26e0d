<?php
/*
 * Receive CDRs from cdr-forwarder: verify each request, store each CDR once, and answer 2xx only when it is on disk.
 *
 * It needs PHP >= 8.0 with pdo_sqlite and nothing else. In production it is a file behind your web server and TLS, with
 * CDR_WEBHOOK_SECRET and CDR_STORE in the environment of PHP-FPM (`env[CDR_WEBHOOK_SECRET] = whsec_...` in its pool).
 * To try it: CDR_WEBHOOK_SECRET=whsec_... CDR_STORE=/tmp/cdrs.sqlite php -S 127.0.0.1:9000 receiver.php
 */
declare(strict_types=1);

const TOLERANCE = 300; // seconds that the sender's clock may differ from ours; keep both synchronised
const LARGEST = 4 * 1024 * 1024; // bytes, below post_max_size of php.ini; what is larger becomes a dead letter
const BUSY = 5; // seconds to wait for another writer

// PostgreSQL: new PDO('pgsql:...'); `body` is BYTEA. ON CONFLICT is the same; sort the ids, so that nothing deadlocks.
const TABLE = 'CREATE TABLE IF NOT EXISTS cdr (
    webhook_id TEXT PRIMARY KEY, -- the unique index that makes a CDR that arrives twice one row
    received_at INTEGER NOT NULL,
    body BLOB NOT NULL
)';
const INSERT = 'INSERT INTO cdr (webhook_id, received_at, body) VALUES (?, ?, ?) ON CONFLICT (webhook_id) DO NOTHING';

/** Return the keys of whsec_... secrets. While a secret is changed there are two of them, separated by a space. */
function keys_of(string $secrets): array
{
    $keys = [];
    foreach (preg_split('/\s+/', $secrets, -1, PREG_SPLIT_NO_EMPTY) as $secret) {
        $keys[] = base64_decode(preg_replace('/^whsec_/', '', $secret), true);
    }
    if (!$keys || min(array_map(fn ($key) => strlen((string) $key), $keys)) < 16) {
        throw new RuntimeException('CDR_WEBHOOK_SECRET must be the secret of the forwarder: whsec_...');
    }
    return $keys;
}

/** Verify a request as Standard Webhooks says: any signature by any key will do. Compares in constant time. */
function is_authentic(string $id, string $timestamp, string $signatures, string $body, array $keys): bool
{
    if ($id === '' || !preg_match('/^[0-9]{1,12}$/D', $timestamp) || abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $authentic = false;
    foreach ($keys as $key) {
        $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
        foreach (explode(' ', $signatures) as $signature) {
            $authentic = hash_equals($expected, $signature) || $authentic;
        }
    }
    return $authentic;
}

/** Return the id that the forwarder gives to a CDR. In an envelope it stands beside it, and this checks it. */
function id_of(string $cdr): string
{
    return 'cdr_' . substr(hash('sha256', $cdr), 0, 32);
}

/**
 * Return the bytes of each element of a JSON array, none where it is not whole. From what a parser returns, nobody can
 * make the same bytes again. To work with values: json_decode($body, true), and each element's 'id' and 'cdr'.
 */
function elements_of(string $array): array
{
    [$depth, $begin, $in_string, $elements] = [0, 1, false, []];
    for ($at = 0; ($at += strcspn($array, '"\\[]{},', $at)) < strlen($array); $at++) {
        $sign = $array[$at];
        if ($sign === '\\') {
            $at++; // what it escapes means nothing here
        } elseif ($sign === '"') {
            $in_string = !$in_string;
        }
        if ($in_string || $sign === '"' || $sign === '\\') {
            continue;
        }
        $depth += match ($sign) {'[', '{' => 1, ']', '}' => -1, default => 0};
        if ($depth === 0 || ($depth === 1 && $sign === ',')) {
            $elements[] = substr($array, $begin, $at - $begin);
            $begin = $at + 1;
        }
    }
    return $depth === 0 && $begin === strlen($array) ? $elements : [];
}

const ENVELOPE = '/^\{"id":"(cdr_[0-9a-f]{32})","attempt":[0-9]+,"source":"[^"]*","cdr":(.*)\}\z/s';

/** Return id and bytes of each CDR in the body. A batch is known by its webhook-id, which is signed. */
function cdrs_of(string $id, string $type, string $body): array
{
    if (!str_starts_with($id, 'batch_')) {
        return [[$id, $body]];
    }
    if (str_contains($type, 'ndjson') || !str_starts_with($body, '[')) {
        return array_map(fn ($line) => [id_of($line), $line], explode("\n", preg_replace('/\n\z/', '', $body)));
    }
    $elements = elements_of($body);
    $enveloped = [];
    foreach ($elements as $element) {
        if (preg_match(ENVELOPE, $element, $found)) {
            $enveloped[] = [$found[1], $found[2]];
        }
    }
    return count($enveloped) === count($elements) ? $enveloped : array_map(fn ($one) => [id_of($one), $one], $elements);
}

/** Return when all are committed, in one transaction. Does nothing for those that are there already. */
function store(array $cdrs): void
{
    $database = new PDO('sqlite:' . (getenv('CDR_STORE') ?: 'cdrs.sqlite'));
    $database->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
    $database->setAttribute(PDO::ATTR_TIMEOUT, BUSY);
    $database->exec('PRAGMA journal_mode = WAL');
    $database->exec(TABLE);
    $insert = $database->prepare(INSERT);
    $database->beginTransaction();
    foreach ($cdrs as [$id, $cdr]) {
        $insert->bindValue(1, $id);
        $insert->bindValue(2, time(), PDO::PARAM_INT);
        $insert->bindValue(3, $cdr, PDO::PARAM_LOB);
        $insert->execute();
    }
    $database->commit();
}

/** Handle the request, and return the status of its answer. */
function status_for(array $server): int
{
    if ($server['REQUEST_METHOD'] !== 'POST') {
        return 405;
    }
    $length = $server['CONTENT_LENGTH'] ?? '0';
    if (!ctype_digit($length) || (int) $length > LARGEST) {
        return 413;
    }
    $body = file_get_contents('php://input');
    if (strlen($body) !== (int) $length) {
        return 503; // the sender hung up; it will send all of it again
    }
    $keys = keys_of((string) getenv('CDR_WEBHOOK_SECRET'));
    $id = $server['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $server['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!is_authentic($id, $timestamp, $server['HTTP_WEBHOOK_SIGNATURE'] ?? '', $body, $keys)) {
        return 401;
    }
    $cdrs = cdrs_of($id, $server['CONTENT_TYPE'] ?? '', $body);
    if (!$cdrs || (int) ($server['HTTP_WEBHOOK_COUNT'] ?? count($cdrs)) !== count($cdrs)) {
        return 400; // a batch that is not whole
    }
    store($cdrs);
    return 204;
}

ini_set('display_errors', '0'); // an error message would be sent with status 200, and the CDR be lost
http_response_code(500);
try {
    http_response_code(status_for($_SERVER));
} catch (Throwable $error) { // not stored, so not 2xx: the forwarder keeps it
    error_log('not stored: ' . $error->getMessage());
    http_response_code(503);
}

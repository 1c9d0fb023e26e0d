<?php
/*
 * Receive CDRs from cdr-forwarder: verify each one, store it once, and answer 2xx only when it is on disk.
 *
 * It needs PHP >= 8.0 with pdo_sqlite and nothing else. In production it is a file behind your web server and TLS, with
 * CDR_WEBHOOK_SECRET and CDR_STORE in the environment of PHP-FPM (`env[CDR_WEBHOOK_SECRET] = whsec_...` in its pool).
 * To try it: CDR_WEBHOOK_SECRET=whsec_... CDR_STORE=/tmp/cdrs.sqlite php -S 127.0.0.1:9000 receiver.php
 */
declare(strict_types=1);

const TOLERANCE = 300; // seconds that the sender's clock may differ from ours; keep both synchronised
const LARGEST = 4 * 1024 * 1024; // bytes, below post_max_size of php.ini; what is larger becomes a dead letter
const BUSY = 5; // seconds to wait for another writer

// PostgreSQL: new PDO('pgsql:...'); `body` is BYTEA. ON CONFLICT is the same.
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

/** Return when the CDR is committed. Does nothing if it is there already. */
function store(string $id, string $body): void
{
    $database = new PDO('sqlite:' . (getenv('CDR_STORE') ?: 'cdrs.sqlite'));
    $database->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
    $database->setAttribute(PDO::ATTR_TIMEOUT, BUSY);
    $database->exec('PRAGMA journal_mode = WAL');
    $database->exec(TABLE);
    $insert = $database->prepare(INSERT);
    $insert->bindValue(1, $id);
    $insert->bindValue(2, time(), PDO::PARAM_INT);
    $insert->bindValue(3, $body, PDO::PARAM_LOB);
    $insert->execute();
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
    store($id, $body);
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

import ArgumentParser

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// How a value of the environment reads; flags go over it.
func environment(_ name: String) -> String? {
    guard let value = getenv(name) else { return nil }
    let text = String(cString: value)
    return text.isEmpty ? nil : text
}

/// Where the stores are. Flags over `SMARTORDERS_*` over `DATABASE_URL` and `REDIS_URL`.
struct ConnectionOptions: ParsableArguments {
    @Option(help: "PostgreSQL, as a URL or a libpq connection string (SMARTORDERS_DATABASE_URL, DATABASE_URL).")
    var database: String?

    @Option(help: "Redis, as redis://host:port/db or unix:///path (SMARTORDERS_REDIS_URL, REDIS_URL).")
    var redis: String?

    func databaseURL() throws -> String {
        guard let url = database ?? environment("SMARTORDERS_DATABASE_URL") ?? environment("DATABASE_URL") else {
            throw Failure(
                .usage,
                "DATABASE_REQUIRED",
                "no database is named.",
                hint: "pass --database or set SMARTORDERS_DATABASE_URL; `smartorders dev` needs neither",
            )
        }
        return url
    }

    func redisURL() throws -> String {
        guard let url = redis ?? environment("SMARTORDERS_REDIS_URL") ?? environment("REDIS_URL") else {
            throw Failure(
                .usage,
                "REDIS_REQUIRED",
                "no Redis is named.",
                hint: "pass --redis or set SMARTORDERS_REDIS_URL; `smartorders dev` needs neither",
            )
        }
        return url
    }
}

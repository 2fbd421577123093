// The private, throw-away servers of `smartorders dev`.
import LocalServers
import OrderStorage

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// PostgreSQL and Redis on unix sockets in a folder of their own.
struct DevServers: Sendable {
    let directory: String
    let isThrowAway: Bool
    let postgres: LocalPostgres
    let redis: LocalRedis

    /// Starts both; the database is migrated and empty unless `data` names a folder that was used before.
    static func start(data: String?, say: (String) -> Void) async throws -> DevServers {
        let directory: String
        if let data {
            directory = data
            mkdir(data, 0o755)
            guard access(data, W_OK) == 0 else {
                throw Failure(
                    .usage,
                    "DATA_FOLDER",
                    "\(data) cannot be written.",
                    hint: "choose another --data folder",
                )
            }
        } else {
            do throws(LocalServerError) {
                directory = try LocalFiles.temporaryFolder("so-dev")
            } catch {
                throw Failure(.failed, "TEMPORARY_FOLDER", "no folder can be made in /tmp: \(error.detail)")
            }
            // PostgreSQL's account must be able to enter it.
            chmod(directory, 0o755)
        }
        do throws(LocalServerError) {
            say("starting PostgreSQL ...")
            let postgres = try await LocalServers.postgres(directory: directory + "/pg")
            say("starting Redis ...")
            let redis = try await LocalServers.redis(directory: directory + "/redis", isDurable: data != nil)
            return DevServers(directory: directory, isThrowAway: data == nil, postgres: postgres, redis: redis)
        } catch {
            throw Failure(
                .failed,
                "PRIVATE_SERVER",
                "\(error)",
                hint: "./scripts/dev installs PostgreSQL and Redis; by hand: apt-get install postgresql redis-server",
            )
        }
    }

    func stop() async {
        for stop in [{ try await redis.stop() }, { try await postgres.stop() }] as [() async throws -> Void] {
            do { try await stop() } catch { tell("a private server did not stop in order: \(error)") }
        }
        if isThrowAway { LocalServers.remove(directory) }
    }
}

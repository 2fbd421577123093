import LocalServers
import OrderEngine
import OrderStorage
import TestKit
import Testing

extension EndToEnd {
    /// An operator asks the feed of a venue to make its connection anew (INTERFACES.md 4.12).
    @Suite struct FeedRestartTests {
        @Test(.timeLimit(.minutes(2))) func `a feed begins anew when it is asked to, and goes on`() async throws {
            try await Deployment.run(workers: 1, schedulers: 1) { cluster in
                let control = PostgresClusterControl(pool: cluster.database)
                let note = OperatorNote(actor: "ada", reason: "stale")
                // Nobody follows the venue yet.
                #expect(try await !control.restartFeed("paper:linear", note))
                let feed = try await cluster.startFeed(["--venue", "paper"])
                defer { feed.killBlocking() }
                let begun = "SELECT count(*) FROM feeds WHERE id = 'paper:linear'"
                while try await cluster.number(begun) == 0 { try await Task.sleep(for: .milliseconds(50)) }
                #expect(try await control.restartFeed("paper:linear", note))
                let again = begun + " AND begun_at > restart_at"
                while try await cluster.number(again) == 0 { try await Task.sleep(for: .milliseconds(50)) }
                // The other product's feed of the same process goes on as it was.
                #expect(try await cluster.number("SELECT count(*) FROM feeds WHERE restart_at IS NOT NULL") == 1)
                #expect(try await !control.restartFeed("paper:inverse", note))
                #expect(
                    try await cluster.text("SELECT subject FROM audit WHERE action = 'feed.restart'") == "paper:linear"
                )
            }
        }
    }
}

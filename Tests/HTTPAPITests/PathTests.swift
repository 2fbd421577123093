import NIOHTTP1
import Testing

@Suite(.serialized, .timeLimit(.minutes(1)))
struct PathTests {
    private struct Row: Sendable {
        let path: String
        let status: Int
    }

    @Test func `a path means the same however it is written, and nothing else means it`() async throws {
        let rows = [
            Row(path: "/v1/orders", status: 200), Row(path: "/v1/%6Frders", status: 200),
            // Taken by POST alone: the name wins over an order's id.
            Row(path: "/v1/orders/preview", status: 405), Row(path: "/v1/orders/%70review", status: 405),
            // A slash that is written as an escape is part of a name.
            Row(path: "/v1%2Forders", status: 404), Row(path: "/v1/orders%2Fpreview", status: 404),
            Row(path: "/v1/orders/", status: 404), Row(path: "/v1//orders", status: 404),
            Row(path: "/v1/orders//events", status: 404), Row(path: "/v1/ordersx", status: 404),
            Row(path: "/v1/orderz", status: 404), Row(path: "/v1", status: 404), Row(path: "//", status: 404),
            Row(path: "/problems/NOT%5fFOUND", status: 200), Row(path: "/problems/", status: 404),
        ]
        try await withAPI { api in
            for row in rows {
                let answer = try await api.send(.GET, row.path)
                #expect(answer.status == row.status, "\(row.path): \(answer.text)")
            }
        }
    }
}

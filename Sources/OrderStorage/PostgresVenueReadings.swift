// Questions about accounts that only workers can put to a venue, and their answers. The asking half works with the rights
// of an API process, the other on a pool of the owner.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum VenueReadingSQL {
    static let file = StatementFile(PackageResources.venue_readings_sql, prefix: "readings")
    static let ask = file["ask"]
    static let answer = file["answer"]
    static let take = file["take"]
    static let settle = file["settle"]
    static let fail = file["fail"]
    static let purge = file["purge"]
}

/// The rows of `venue_readings`.
public final class PostgresVenueReadings: VenueReadings, VenueReadingWork {
    private let pool: PostgresPool

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    // MARK: Asking

    public func ask(_ question: VenueQuestion, of account: AccountID) async throws(StoreError) -> Int64 {
        try await writing {
            let parameters: [Parameter] = [.uuid(account.value), .text(question.stored)]
            guard let row = try await pool.query(VenueReadingSQL.ask, parameters).first else {
                throw StoreError(.unavailable, "the question was not stored")
            }
            return try row.int64(0)
        }
    }

    public func answer(
        to question: VenueQuestion,
        of account: AccountID,
    ) async throws(StoreError) -> VenueAnswer? {
        try await reading {
            let parameters: [Parameter] = [.uuid(account.value), .text(question.stored)]
            return try await pool.query(VenueReadingSQL.answer, parameters).first.map { row in
                VenueAnswer(
                    number: try row.int64(0),
                    failure: row.isNull(1) ? nil : try row.string(1),
                    reading: row.isNull(2) ? nil : try VenueReading(stored: row.bytes(2)),
                    asOf: try row.momentOrNil(3),
                )
            }
        }
    }

    // MARK: Answering

    public func take(limit: Int) async throws(StoreError) -> [AskedVenue] {
        try await writing {
            try await pool.query(VenueReadingSQL.take, [.int8(Int64(limit))]).map { row in
                let text = try row.string(1)
                guard let question = VenueQuestion(stored: text) else { throw CorruptValue("question \(text)") }
                return AskedVenue(account: AccountID(try row.id(0)), question: question, number: try row.int64(2))
            }
        }
    }

    public func settle(
        _ asked: AskedVenue,
        _ reading: VenueReading,
        asOf: Timestamp,
    ) async throws(StoreError) {
        let parameters: [Parameter] = [
            .uuid(asked.account.value), .text(asked.question.stored), .int8(asked.number),
            .text(String(decoding: reading.stored, as: UTF8.self)), .timestamp(microseconds: asOf.microseconds),
        ]
        try await writing { _ = try await pool.query(VenueReadingSQL.settle, parameters) }
    }

    public func settle(_ asked: AskedVenue, failure: String) async throws(StoreError) {
        let parameters: [Parameter] = [
            .uuid(asked.account.value), .text(asked.question.stored), .int8(asked.number), .text(failure),
        ]
        try await writing { _ = try await pool.query(VenueReadingSQL.fail, parameters) }
    }

    public func purge() async throws(StoreError) {
        try await writing { _ = try await pool.query(VenueReadingSQL.purge, []) }
    }
}

// A worker's answers to what processes without venue keys ask about accounts (Ports/VenueReadings.swift).
//
// Any worker answers; a question whose worker died waits for the end of its lease. Cost: one look at a small index every
// 50 ms, and one request to the venue per question, 16 at a time.
internal import SmartOrders

public struct VenueReadingDuty: Sendable {
    private static let pauseMs: Int64 = 50
    private static let width = 16
    private static let purgeRounds = 12_000

    private let venues: any VenueDirectory
    private let work: any VenueReadingWork
    private let clock: any EngineClock
    private let observer: any EngineObserver

    public init(
        venues: any VenueDirectory,
        work: any VenueReadingWork,
        clock: any EngineClock,
        observer: any EngineObserver,
    ) {
        self.venues = venues
        self.work = work
        self.clock = clock
        self.observer = observer
    }

    /// Runs until the task is cancelled.
    public func run() async throws {
        var round = 0
        while true {
            do throws(StoreError) {
                if round % Self.purgeRounds == 0 { try await work.purge() }
                while try await answerSome() > 0 {}
            } catch {
                observer.count("store_errors_total", 1)
            }
            round += 1
            try await clock.sleep(milliseconds: Self.pauseMs)
        }
    }

    /// Answers what waits, at most 16 questions; how many there were.
    func answerSome() async throws(StoreError) -> Int {
        let asked = try await work.take(limit: Self.width)
        await withTaskGroup(of: Void.self) { group in
            for one in asked { group.addTask { await answer(one) } }
        }
        return asked.count
    }

    private func answer(_ asked: AskedVenue) async {
        let told: Result<(VenueReading, Timestamp), VenueError>
        do throws(VenueError) {
            let venue = try await venues.venue(for: asked.account)
            let begun = venue.venueTime()
            told = .success((try await venue.read(asked.question), begun))
        } catch {
            told = .failure(error)
        }
        do throws(StoreError) {
            switch told {
            case .success(let (reading, asOf)): try await work.settle(asked, reading, asOf: asOf)
            case .failure(let error): try await work.settle(asked, failure: error.detail)
            }
        } catch {
            // The lease ends, and somebody asks again.
            observer.count("store_errors_total", 1)
        }
    }
}

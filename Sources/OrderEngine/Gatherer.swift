// Joins what concurrent tasks ask one at a time: whatever is asked while a query is under way becomes the next query.
//
// No timer and no task of its own: whoever asks first runs the query, and hands on to one of those that wait. Limits: 128
// questions a query. Cost: nothing is added when idle; under load the round trips are shared.
internal import SmartOrders

/// Asks a store many things at once.
package actor Gatherer<Question: Sendable, Answer: Sendable> {
    private enum Word: Sendable {
        case answered(Result<Answer, StoreError>)
        /// The next query is yours.
        case lead
    }

    private var waiting: [(question: Question, resume: CheckedContinuation<Word, Never>)] = []
    private var isRunning = false
    private static var maximumBatch: Int { 128 }
    private let query: @Sendable ([Question]) async throws(StoreError) -> [Answer]

    /// - Parameter query: answers in the order of the questions, one each.
    package init(_ query: @escaping @Sendable ([Question]) async throws(StoreError) -> [Answer]) {
        self.query = query
    }

    package func ask(_ question: Question) async throws(StoreError) -> Answer {
        if isRunning {
            let word = await withCheckedContinuation { waiting.append((question, $0)) }
            switch word {
            case .answered(let result): return try result.get()
            case .lead: break
            }
        }
        isRunning = true
        let others = Array(waiting.prefix(Self.maximumBatch - 1))
        waiting.removeFirst(others.count)
        let result: Result<[Answer], StoreError>
        do throws(StoreError) {
            let answers = try await query([question] + others.map(\.question))
            precondition(answers.count == others.count + 1, "one answer per question")
            result = .success(answers)
        } catch {
            result = .failure(error)
        }
        if waiting.isEmpty {
            isRunning = false
        } else {
            waiting.removeFirst().resume.resume(returning: .lead)
        }
        switch result {
        case .success(let answers):
            for (other, answer) in zip(others, answers.dropFirst()) {
                other.resume.resume(returning: .answered(.success(answer)))
            }
            return answers[0]
        case .failure(let error):
            for other in others { other.resume.resume(returning: .answered(.failure(error))) }
            throw error
        }
    }
}

/// Tells of changed orders; what is told while one call is under way goes with the next.
actor ChangeTeller {
    private var waiting: [OrderID] = []
    private var isRunning = false
    /// A caller tells for others so often at most; what is left goes with the next change.
    private static let maximumRounds = 3

    /// - Returns: false when a call failed.
    func tell(_ changed: [OrderID], through ticks: any TickLog) async -> Bool {
        waiting += changed
        guard !isRunning else { return true }
        isRunning = true
        defer { isRunning = false }
        var rounds = 0
        while !waiting.isEmpty, rounds < Self.maximumRounds {
            rounds += 1
            let batch = waiting
            waiting = []
            do throws(TickLogError) {
                try await ticks.notifyChanged(batch)
            } catch {
                return false
            }
        }
        return true
    }
}

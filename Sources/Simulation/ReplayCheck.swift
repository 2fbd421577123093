// Holds each commit against its own record (ORDERS.md 9.3.2): the steps that are stored with it, made again on the row
// before it, have to give its row and its facts.
internal import OrderEngine
internal import SmartOrders

enum ReplayCheck {
    /// What comes out otherwise; nil: nothing does.
    static func difference(_ before: StoredOrder?, _ commit: Commit) -> String? {
        let next = commit.next
        let version = StoredVersion(
            order: next,
            sequence: 0,
            at: next.updatedAt,
            committedAt: nil,
            cause: commit.cause,
            actor: commit.actor,
            tick: commit.tick,
            facts: commit.facts,
            record: commit.record,
        )
        do throws(Refusal) {
            guard let steps = try DecisionReplay.steps(of: version, before: before) else {
                return "no steps are stored"
            }
            if let last = steps.last?.after, last != next {
                return "its steps give another row: \(fields(last, next)); steps \(commit.record.steps)"
            }
            if steps.flatMap(\.facts) != commit.facts { return "its steps give other facts" }
            return nil
        } catch {
            return "its steps are refused: \(error.code.rawValue)"
        }
    }

    /// The fields in which two rows differ.
    private static func fields(_ left: StoredOrder, _ right: StoredOrder) -> String {
        zip(members(left), members(right))
            .filter { "\($0.value)" != "\($1.value)" }
            .map { "\($0.label ?? "?") \($0.value) for \($1.value)" }
            .joined(separator: ", ")
    }

    private static func members(_ order: StoredOrder) -> Mirror.Children {
        switch order {
        case .smart(let order): Mirror(reflecting: order).children
        case .conditional(let order): Mirror(reflecting: order).children
        }
    }
}

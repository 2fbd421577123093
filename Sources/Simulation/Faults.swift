// What goes wrong in a simulation, how often, and what is left out of the protocol on purpose.

/// Classes of faults (RELIABILITY.md 8.3), by their names on the command line.
package enum FaultClass: Int, Hashable, Sendable, CaseIterable {
    /// Processes: killed, stopped in order, held up.
    case kill, drain, pause
    /// PostgreSQL: connections reset before and after a statement, outages.
    case pgReset, pgOutage
    /// Redis: connections reset, content lost, away.
    case redisReset, redisLoss, redisOutage
    /// The venue: requests lost or held, answers lost, a slow engine, slow look-ups, refusals, outages, partial fills,
    /// deaf private streams.
    case venueLoss, venueDelay, venueAnswer, venueQueue, venueLag, venueRefusal, venueOutage, venuePartial, venueStream
    /// Messages between processes and stores take long.
    case net
    /// Prices: gaps, bursts, repetitions.
    case feed
    /// Clocks that are wrong and drift.
    case clock
    /// An operator halts every send for a while.
    case halt
    /// The queue hands out nothing for a while, then some or all processes die, often with Redis.
    case blackout
    /// A trader's answer is lost: the request comes again.
    case trader

    package var name: String { "\(self)" }
}

/// How much of each class a run has: a factor of its base rate.
package struct FaultPlan: Hashable, Sendable {
    package var factors: [FaultClass: Double]

    package init(factors: [FaultClass: Double] = [:]) {
        self.factors = factors
    }

    subscript(_ fault: FaultClass) -> Double { factors[fault] ?? 0 }

    package static let none = FaultPlan()
    package static let uniform = FaultPlan(
        factors: Dictionary(uniqueKeysWithValues: FaultClass.allCases.map { ($0, 1) })
    )

    /// Some classes absent, some overwhelming.
    static func swarm(_ random: inout SeededRandom) -> FaultPlan {
        let choices: [Double] = [0, 0, 0.3, 1, 1, 4, 12]
        var plan = FaultPlan()
        for fault in FaultClass.allCases {
            plan.factors[fault] = choices[Int(random.next() % UInt64(choices.count))]
        }
        return plan
    }

    /// `kill=4 pause=1`, without what is absent.
    package var text: String {
        let parts = FaultClass.allCases.compactMap { fault in
            self[fault] == 0 ? nil : "\(fault.name)=\(self[fault])"
        }
        return parts.isEmpty ? "none" : parts.joined(separator: ",")
    }
}

/// Which faults a run has, before its seed is known.
package enum FaultChoice: Hashable, Sendable {
    case swarm
    case fixed(FaultPlan)

    /// Reads `none`, `uniform`, `swarm`, or a list like `kill=4,pause=1`; nil: something else.
    package init?(_ text: String) {
        switch text {
        case "none": self = .fixed(.none)
        case "uniform": self = .fixed(.uniform)
        case "swarm": self = .swarm
        default:
            var plan = FaultPlan()
            for part in text.split(separator: ",") {
                let sides = part.split(separator: "=")
                guard sides.count == 2, let fault = FaultClass.allCases.first(where: { $0.name == sides[0] }),
                    let factor = Double(sides[1]), factor >= 0, factor <= 100
                else { return nil }
                plan.factors[fault] = factor
            }
            self = .fixed(plan)
        }
    }
}

import TestKit
import Testing

/// One promise of `JobQueueContract`, with the numbers of the acceptance scenarios that it shows.
struct ContractCase: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let check: @Sendable (any JobQueueRig) async throws -> Void

    init(_ name: String, _ check: @escaping @Sendable (any JobQueueRig) async throws -> Void) {
        testDescription = name
        self.check = check
    }

    static let all: [ContractCase] = [
        .init("runs once what is offered twice (1)") { try await JobQueueContract.runsOnceWhatIsOfferedTwice($0) },
        .init("sees twins in one offer") { try await JobQueueContract.seesTwinsInOneOffer($0) },
        .init("remembers what is completed (2)") { try await JobQueueContract.remembersWhatIsCompleted($0) },
        .init("says that a job is dead (3)") { try await JobQueueContract.saysThatAJobIsDead($0) },
        .init("replaces what died of its body (26, 27)") { try await JobQueueContract.replacesWhatDiedOfItsBody($0) },
        .init("makes one job of many offers (4)") { try await JobQueueContract.makesOneJobOfManyOffers($0) },
        .init("keeps order") { try await JobQueueContract.keepsOrder($0) },
        .init("starves no class (35)") { try await JobQueueContract.starvesNoClass($0) },
        .init("gives no more than asked") { try await JobQueueContract.givesNoMoreThanAsked($0) },
        .init("brings back the jobs of the killed (5)") { try await JobQueueContract.bringsBackTheJobsOfTheKilled($0) },
        .init("brings back at once when named (5)") { try await JobQueueContract.bringsBackAtOnceWhenNamed($0) },
        .init("delivers a suspect alone (6)") { try await JobQueueContract.deliversASuspectAlone($0) },
        .init("puts a killer into quarantine (6)") { try await JobQueueContract.putsAKillerIntoQuarantine($0) },
        .init("refuses the late word (7)") { try await JobQueueContract.refusesTheLateWord($0) },
        .init("acknowledges twice (14)") { try await JobQueueContract.acknowledgesTwice($0) },
        .init("gives back to the head (19)") { try await JobQueueContract.givesBackToTheHead($0) },
        .init("retries when due (23)") { try await JobQueueContract.retriesWhenDue($0) },
        .init("retries at once at the head") { try await JobQueueContract.retriesAtOnceAtTheHead($0) },
        .init("wakes who waits (16, 25)") { try await JobQueueContract.wakesWhoWaits($0) },
    ]
}

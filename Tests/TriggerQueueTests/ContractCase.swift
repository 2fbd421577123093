import TestKit
import Testing

/// One promise of `JobQueueContract`.
struct ContractCase: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let check: @Sendable (any JobQueueRig) async throws -> Void

    init(_ name: String, _ check: @escaping @Sendable (any JobQueueRig) async throws -> Void) {
        testDescription = name
        self.check = check
    }

    static let all: [ContractCase] = [
        .init("runs once what is offered twice") { try await JobQueueContract.runsOnceWhatIsOfferedTwice($0) },
        .init("sees twins in one offer") { try await JobQueueContract.seesTwinsInOneOffer($0) },
        .init("remembers what is completed") { try await JobQueueContract.remembersWhatIsCompleted($0) },
        .init("says that a job is dead") { try await JobQueueContract.saysThatAJobIsDead($0) },
        .init("replaces what died of its body") { try await JobQueueContract.replacesWhatDiedOfItsBody($0) },
        .init("makes one job of many offers") { try await JobQueueContract.makesOneJobOfManyOffers($0) },
        .init("keeps order") { try await JobQueueContract.keepsOrder($0) },
        .init("starves no class") { try await JobQueueContract.starvesNoClass($0) },
        .init("gives no more than asked") { try await JobQueueContract.givesNoMoreThanAsked($0) },
        .init("brings back the jobs of the killed") { try await JobQueueContract.bringsBackTheJobsOfTheKilled($0) },
        .init("brings back at once when named") { try await JobQueueContract.bringsBackAtOnceWhenNamed($0) },
        .init("delivers a suspect alone") { try await JobQueueContract.deliversASuspectAlone($0) },
        .init("puts a killer into quarantine") { try await JobQueueContract.putsAKillerIntoQuarantine($0) },
        .init("refuses the late word") { try await JobQueueContract.refusesTheLateWord($0) },
        .init("acknowledges twice") { try await JobQueueContract.acknowledgesTwice($0) },
        .init("gives back to the head") { try await JobQueueContract.givesBackToTheHead($0) },
        .init("retries when due") { try await JobQueueContract.retriesWhenDue($0) },
        .init("retries at once at the head") { try await JobQueueContract.retriesAtOnceAtTheHead($0) },
        .init("wakes who waits") { try await JobQueueContract.wakesWhoWaits($0) },
    ]
}

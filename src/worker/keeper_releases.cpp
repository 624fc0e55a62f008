// The keeper's releases on their way: collected, sent many in one call, acknowledged. What is
// released, and when, is decided in keeper_leases.cpp. Runs in: the worker.

#include "pg/boundary.hpp"
#include "pg/injection.hpp"
#include "worker/keeper_state.hpp"

namespace inventory_lock::worker {

void Keeper::ReleaseSoon(int32 index, const std::string &token, int64 gap_ms, int64 now_us) {
    IL_INJECT("worker-releasing");
    if (SessionOf(local_[static_cast<size_t>(index)].session) != nullptr) {
        to_release_.push_back({index, token, gap_ms});
    } else if (AbandonedServer(index, now_us)) {
        MarkAbsent(index, now_us);
    } else {  // an earlier worker's; released once the barrier has passed
        Locked(EntryAt(index), [&] { EntryAt(index)->state = shared::LeaseState::kUnknown; });
        takeover_.push_back(index);
    }
}

// Sends what is to be released, many keys in one call. Comes before leases are asked for, so that
// an acquisition follows the release of the same key on its lane.
void Keeper::SendReleases(int64 now_us) {
    constexpr size_t kBatch = 256;
    std::map<std::pair<uint32, int>, std::vector<ReleaseToSend>> batches;
    for (ReleaseToSend &release : std::exchange(to_release_, {})) {
        shared::LeaseEntry *entry = EntryAt(release.index);
        if (ViewOf(entry).state != shared::LeaseState::kReleasing ||
            (release.token != entry->token && release.token != entry->prev)) {
            continue;  // settled meanwhile
        }
        const Local &local = local_[static_cast<size_t>(release.index)];
        const bool alone = IsIntent(release.index) || local.release_alone;
        std::vector<ReleaseToSend> own;
        std::vector<ReleaseToSend> &batch = alone ? own : batches[{local.session, local.lane}];
        batch.push_back(std::move(release));
        if (alone || batch.size() == kBatch) {
            SendReleasesOf(local.session, local.lane, std::exchange(batch, {}), now_us);
        }
    }
    for (const auto &[lane, batch] : batches) {
        if (!batch.empty()) {
            SendReleasesOf(lane.first, lane.second, batch, now_us);
        }
    }
}

void Keeper::SendReleasesOf(uint32 session_id, int lane, const std::vector<ReleaseToSend> &releases,
                            int64 now_us) {
    Operation operation;
    operation.purpose = Purpose::kRelease;
    std::vector<redis::ReleaseKey> keys;
    for (const ReleaseToSend &release : releases) {
        const int32 index = release.index;
        redis::ReleaseKey &key = keys.emplace_back();
        key.key = KeyOf(index);
        key.token = release.token;
        key.fence = IsIntent(index) ? 0 : ViewOf(EntryAt(index)).next_fence - 1;
        key.gap_ms = release.gap_ms;
        operation.entries.push_back(index);
        operation.tokens.push_back(release.token);
    }
    operation.command = redis::MakeRelease(keys, kFenceTtlMs);
    Session *session = SessionOf(session_id);
    const bool sent = session != nullptr && session->Ready(lane) &&
                      Send(*session, lane, std::move(operation), now_us);
    for (size_t i = 0; !sent && i < releases.size(); i++) {
        shared::LeaseEntry *entry = EntryAt(releases[i].index);
        Locked(entry, [&] { entry->state = shared::LeaseState::kUnknown; });
    }
    IL_INJECT("worker-release-sent");
}

void Keeper::OnReleased(Operation &operation, const redis::ReleaseAnswer &answer, int64 now_us) {
    if (!answer.ok) {
        Trouble(answer.trouble, now_us);
        for (const int32 index : operation.entries) {
            local_[static_cast<size_t>(index)].release_alone = true;  // one may be to blame
            CheckAt(index, now_us + 500 * kUsPerMs);
        }
        return;
    }
    breaker_.Succeeded();
    for (size_t i = 0; i < operation.entries.size(); i++) {
        const int32 index = operation.entries[i];
        const std::string &token = operation.tokens[i];
        shared::LeaseEntry *entry = EntryAt(index);
        if (answer.keys[i] == redis::Ownership::kOurs) {
            shared::Count(shared::Total::kReleases);
        }
        bool done = false;
        Locked(entry, [&] {
            if (token == entry->prev) {
                entry->prev[0] = '\0';
            }
            done = entry->state == shared::LeaseState::kReleasing && token == entry->token &&
                   entry->prev[0] == '\0';
        });
        if (done) {
            MarkAbsent(index, now_us);
        }
    }
}

}  // namespace inventory_lock::worker

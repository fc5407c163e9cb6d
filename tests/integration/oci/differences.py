"""What a runtime does otherwise than the specification says: expected failures, each with its reason.

The key is a test, `file::name` for all its parameters or `file::name[parameter]`
for one.  They hold for crun 1.8.1 and runc 1.1.5, Debian 12's.
"""

from __future__ import annotations


def _each(test: str, parameters: str, reason: str) -> dict[str, str]:
    """The same reason for several parameters of a test, with blanks between them."""
    return {f"{test}[{parameter}]": reason for parameter in parameters.split()}


DIFFERENCES: dict[str, dict[str, str]] = {
    "crun": {
        "test_cli.py::test_the_state_has_what_engines_read_besides": "says the root as the config has it, relative",
        "test_cli.py::test_words_after_the_container_are_for_ps": "takes none",
        "test_cli.py::test_events_go_on_until_the_container_is_gone": "has no events",
        "test_cli.py::test_an_update_that_cannot_be_read_changes_nothing[word]": "takes a word for no number",
        "test_cli.py::test_groups_and_privileges_of_an_exec_can_be_said": "exec has no --additional-gids",
        "test_cli.py::test_flags_may_follow_the_container": "knows them only before the container",
        "test_cli.py::test_the_time_between_events_may_be_minutes": "has no events",
        "test_cli.py::test_whoever_asks_is_given_the_process_itself": "create has no --pidfd-socket",
        "test_config.py::test_what_is_not_quite_json_is_refused[a comment]": "takes comments",
        **_each(
            "test_config.py::test_what_is_required_and_missing_is_an_error",
            "linux.devices.0.major linux.resources.devices.0.allow",
            "fails late, and leaves the control groups behind",
        ),
        "test_config.py::test_what_is_optional_may_be_missing_empty_or_null[mounts]": "needs mounts",
        "test_config.py::test_the_least_that_a_config_can_be_runs": "needs mounts",
        **_each(
            "test_config.py::test_a_value_of_the_wrong_kind_is_an_error",
            'process.terminal-"false" process.noNewPrivileges-1 process.user.uid-"0" process.capabilities-["CAP_KILL"] '
            'process.rlimits-{} process.oomScoreAdj-"0" root.readonly-"true" hostname-{} mounts.0.options-"ro" '
            'hooks-[] annotations-[] linux.resources.memory.limit-"64M" linux.maskedPaths-"/proc/kcore"',
            "takes a value of another kind for none, or for what it could mean",
        ),
        **_each(
            "test_config.py::test_every_version_1_is_accepted",
            "1.2.0 1.2.1 1.2.0+x.1",
            "refuses every version but 1.0.x and 1.1.x",
        ),
        **_each(
            "test_config.py::test_what_is_no_version_or_another_one_is_refused",
            "1.0 v1.0.0 1.0.0.0 01.0.0 1.0.0- 0.1.0",
            "is content with a 1.0 or 1.1 anywhere in it",
        ),
        "test_config.py::test_what_is_no_version_or_another_one_is_refused[ 1.0.0]": (
            "is content with a 1.0 or 1.1 anywhere in it"
        ),
        "test_config.py::test_an_annotation_without_a_key_is_refused": "takes it",
        "test_config.py::test_a_nul_is_refused": "runs the shorter words",
        "test_devices.py::test_an_unknown_type_is_refused": "makes another kind of node",
        "test_devices.py::test_a_later_rule_takes_back_an_earlier_one": (
            "writes the rules to the version 1 group one by one, which forgets the last"
        ),
        "test_devices.py::test_a_file_in_place_of_a_device_is_an_error": "leaves the file where it is, in silence",
        "test_exec.py::test_defaults_are_those_of_the_containers_process": "starts in / unless told otherwise",
        "test_exec.py::test_flags_change_environment_directory_and_user": "takes --env for the whole environment",
        "test_exec.py::test_a_capability_is_added": "takes --cap for the whole set",
        "test_exec.py::test_limits_and_score_are_the_processes": "sets neither for an exec",
        "test_exec.py::test_the_cpus_of_a_process_can_be_said": "does not know execCPUAffinity",
        "test_exec.py::test_a_command_that_cannot_run_is_an_error_that_names_it[/etc/passwd]": (
            "does not say which program"
        ),
        "test_exec.py::test_a_paused_container_takes_an_exec_when_asked": "exec has no --ignore-paused",
        "test_exec.py::test_a_user_namespace_without_proc_can_be_entered": "needs a mounted /proc for an exec",
        "test_hooks.py::test_a_hook_is_told_the_state[createContainer-creat]": "tells it process 0",
        "test_hooks.py::test_a_hook_is_told_the_state[startContainer-created]": "has a state of its own, starting",
        "test_hooks.py::test_hooks_run_in_the_order_of_the_life": "poststart may come before startContainer",
        "test_hooks.py::test_run_runs_every_hook": "poststart may come before startContainer",
        "test_hooks.py::test_a_failure_runs_the_poststop_hooks": "does not run them when create fails",
        "test_hooks.py::test_a_failure_of_start_container_ends_the_container": (
            "start succeeds before these hooks have run"
        ),
        "test_hooks.py::test_a_timeout_is_more_than_nothing[0]": "takes 0 for no timeout",
        "test_lifecycle.py::test_a_config_of_version_1_2_is_accepted": "refuses every version but 1.0.x and 1.1.x",
        "test_lifecycle.py::test_an_id_that_is_no_plain_name_is_refused[blank]": "refuses only ids with a slash inside",
        "test_lifecycle.py::test_an_id_that_is_no_plain_name_is_refused[absolute]": "takes a slash at the beginning",
        "test_lifecycle.py::test_an_id_never_leads_out_of_the_state_directory[delete]": (
            "delete --force removes any directory that the id leads to"
        ),
        "test_lifecycle.py::test_run_keeps_the_container_when_asked": "run has no --keep",
        "test_lifecycle.py::test_only_a_running_container_is_paused_and_a_paused_one_resumed": (
            "resume of a running container succeeds"
        ),
        "test_lifecycle.py::test_a_created_container_is_not_deleted_without_force": "ends and deletes it",
        "test_lifecycle.py::test_a_container_without_a_process_can_be_made_but_not_started": (
            "needs process for create too"
        ),
        "test_mounts.py::test_an_option_is_seen_in_the_mount[nosymfollow]": "does not know nosymfollow",
        "test_mounts.py::test_what_a_user_namespace_may_not_lift_stays": (
            "lifts them: the bind is made outside of the user namespace"
        ),
        "test_mounts.py::test_a_recursive_option_holds_below_too[noatime]": (
            "asks mount_setattr for an invalid combination"
        ),
        "test_mounts.py::test_a_destination_through_a_link_stays_inside_the_root": (
            "does not make what a dangling link names"
        ),
        "test_mounts.py::test_nothing_but_proc_is_mounted_over_proc": "has no such check",
        "test_mounts.py::test_a_copied_link_stays_a_link": "does not know copy-symlink",
        "test_namespaces.py::test_a_namespace_that_is_asked_for_is_new[time]": (
            "fails to make a time namespace on this kernel"
        ),
        "test_namespaces.py::test_a_namespace_that_exists_is_joined[time]": (
            "fails to join a time namespace on this kernel"
        ),
        "test_namespaces.py::test_offsets_of_an_unknown_clock_are_refused": "says only sometimes why it has ended",
        "test_namespaces.py::test_clocks_are_offset": "fails to make a time namespace on this kernel",
        "test_namespaces.py::test_a_namespace_named_twice_is_refused": "takes both for one",
        "test_namespaces.py::test_an_interface_moves_with_its_address_and_is_up": "does not know netDevices",
        "test_namespaces.py::test_parameters_may_name_a_moved_interface": "does not know netDevices",
        "test_namespaces.py::test_an_interface_that_is_not_there_is_an_error": "does not know netDevices",
        "test_namespaces.py::test_an_interface_needs_a_network_of_ones_own": "does not know netDevices",
        "test_notify.py::test_the_manager_is_told_which_process_it_is[path]": "says no MAINPID",
        "test_notify.py::test_nothing_but_readiness_goes_on[path]": "takes READY=10 for READY=1",
        "test_notify.py::test_start_returns_when_the_service_is_ready[abstract]": "names a socket that is not there",
        "test_notify.py::test_the_manager_is_told_which_process_it_is[abstract]": "names a socket that is not there",
        "test_notify.py::test_readiness_may_come_with_more[abstract]": "names a socket that is not there",
        "test_notify.py::test_a_detached_run_waits_too[abstract]": "names a socket that is not there",
        "test_notify.py::test_a_run_that_stays_passes_it_on_meanwhile[abstract]": "names a socket that is not there",
        "test_notify.py::test_the_managers_own_socket_stays_outside[abstract]": "names a socket that is not there",
        "test_notify.py::test_it_is_heard_from_a_user_namespace[abstract]": "names a socket that is not there",
        "test_paths.py::test_a_relative_path_is_refused": "takes it as relative to the root or leaves it out",
        "test_process.py::test_an_empty_home_is_that_of_the_user": "leaves it empty",
        "test_process.py::test_a_command_that_cannot_run_is_an_error_that_names_it[/etc/passwd]": (
            "does not say which program"
        ),
        "test_process.py::test_a_command_that_cannot_run_is_an_error_that_names_it[/etc]": "does not say which program",
        "test_process.py::test_a_relative_directory_is_refused": "takes it as relative to the root",
        "test_process.py::test_a_limit_said_twice_is_refused": "takes the last one",
        "test_process.py::test_the_scheduler_is_set": "does not know process.scheduler",
        "test_process.py::test_an_unknown_scheduler_is_refused": "does not know process.scheduler",
        "test_process.py::test_the_io_priority_is_set": "does not know process.ioPriority",
        "test_process.py::test_listen_fds_are_passed_on": "sets no LISTEN_PID",
        "test_resources.py::test_no_limit_is_minus_one": "writes -1 to pids.max",
        "test_resources.py::test_update_of_memory_takes_units": "takes bytes only",
        "test_resources.py::test_a_cpu_that_is_not_there_is_an_error": "leaves the control groups behind",
        "test_resources.py::test_the_weight_of_block_devices_is_set": "does not know blkio.bfq.weight",
        "test_resources.py::test_one_look_at_the_statistics": "has no events",
        "test_resources.py::test_the_burst_of_cpu_time_is_set": "does not know cpu.burst",
        **_each(
            "test_resources.py::test_a_limit_that_makes_no_sense_is_an_error",
            "limit cpus",
            "leaves the control groups behind",
        ),
        **_each(
            "test_resources.py::test_a_limit_that_makes_no_sense_is_an_error",
            "shares pids",
            "takes a word or a negative number for none",
        ),
        "test_root.py::test_an_unknown_propagation_is_refused": "ignores words it does not know",
        "test_seccomp.py::test_what_goes_wrong_without_sockets_is_said": (
            "start succeeds first, and the container's own output has the complaint"
        ),
        "test_seccomp.py::test_a_part_that_is_required_is_missed[index]": "takes an index that is missing for 0",
        "test_seccomp.py::test_a_part_that_is_required_is_missed[value]": "takes a value that is missing for 0",
        "test_seccomp.py::test_an_agent_is_told_whose_calls_it_answers": "says version 0.2.0 of the specification",
        "test_seccomp.py::test_an_agent_is_given_the_descriptor_of_an_exec_too": "tells it process 0",
        "test_seccomp.py::test_without_a_listener_notify_is_refused": "takes it",
        "test_signals.py::test_a_signal_has_a_name_or_a_number_and_is_term_by_default[term]": (
            "knows names in capitals only; others become signal 0 in silence"
        ),
        "test_signals.py::test_a_signal_has_a_name_or_a_number_and_is_term_by_default[sigterm]": (
            "knows names in capitals only; others become signal 0 in silence"
        ),
        "test_terminal.py::test_a_console_socket_without_terminal_is_refused": "ignores the socket",
        "test_rootless.py::test_a_limit_without_a_group_to_set_it_in_is_refused": "goes on without the limit",
        "test_rootless.py::test_without_a_user_namespace_the_need_of_one_is_said": "makes one that nobody asked for",
        "test_safety.py::test_descriptors_to_be_kept_must_be_open": "takes closed ones for open",
        "test_safety.py::test_a_pipe_in_place_of_passwd_keeps_nobody_waiting": "waits at the pipe forever",
        "test_safety.py::test_few_open_files_are_for_the_command_to_live_with": "needs more itself, and fails",
        "test_safety.py::test_a_paused_container_is_killed": "leaves it frozen",
    },
    "runc": {
        "test_cli.py::test_the_mount_options_of_the_features_are_known": "hands `defaults` to the filesystem",
        "test_cli.py::test_whoever_asks_is_given_the_process_itself": "create has no --pidfd-socket",
        **_each(
            "test_config.py::test_what_is_required_and_missing_is_an_error",
            "ociVersion linux.devices.0.path linux.devices.0.major linux.resources.devices.0.allow",
            "takes what is missing for empty, 0 or false",
        ),
        "test_config.py::test_what_is_not_quite_json_is_refused[one brace more]": "reads no further than the object",
        "test_config.py::test_what_is_optional_may_be_missing_empty_or_null[mounts]": "needs a mounted /proc",
        "test_config.py::test_the_least_that_a_config_can_be_runs": "needs a mounted /proc",
        "test_config.py::test_what_is_no_version_or_another_one_is_refused": "does not look at the version",
        "test_config.py::test_names_of_properties_are_as_they_are_written": "makes no difference of capitals",
        "test_config.py::test_an_annotation_without_a_key_is_refused": "takes it",
        "test_devices.py::test_a_file_in_place_of_a_device_is_an_error": "leaves the file where it is, in silence",
        "test_exec.py::test_a_process_may_come_from_a_file": "ignores the umask of an exec",
        "test_exec.py::test_limits_and_score_are_the_processes": (
            "Go may raise the soft limit of open files meanwhile, which is chance"
        ),
        "test_exec.py::test_the_cpus_of_a_process_can_be_said": "does not know execCPUAffinity",
        "test_exec.py::test_a_user_namespace_without_proc_can_be_entered": "needs a mounted /proc",
        "test_hooks.py::test_a_failure_of_start_container_ends_the_container": (
            "start succeeds before these hooks have run"
        ),
        "test_hooks.py::test_hooks_run_in_the_order_of_the_life": "runs poststart in create",
        "test_hooks.py::test_poststart_runs_before_start_returns": "runs poststart in create",
        "test_hooks.py::test_run_runs_every_hook": "runs poststart before startContainer",
        "test_hooks.py::test_a_hook_is_told_the_state[poststart-running]": "runs poststart in create",
        "test_hooks.py::test_a_failure_of_poststart_is_only_a_warning": "ends the container, as 1.2.1 has it",
        "test_hooks.py::test_a_timeout_is_more_than_nothing[-1]": (
            "takes it; whether the hook or the time is over first is chance"
        ),
        "test_hooks.py::test_a_failure_of_poststop_is_only_a_warning": "leaves the further ones out",
        "test_lifecycle.py::test_concurrent_creates_of_one_id_make_one_container": (
            "two creates at once may each remove what the other has made"
        ),
        "test_lifecycle.py::test_a_created_container_is_not_deleted_without_force": "ends and deletes it",
        "test_lifecycle.py::test_a_container_without_a_process_can_be_made_but_not_started": (
            "needs process for create too"
        ),
        "test_mounts.py::test_what_a_user_namespace_may_not_lift_stays": (
            "fails to remount: it leaves the locked options out"
        ),
        "test_mounts.py::test_a_copied_link_stays_a_link": "does not know copy-symlink",
        "test_mounts.py::test_a_mount_with_mappings_shows_other_owners": "ignores the mappings of mounts",
        "test_mounts.py::test_the_mappings_of_the_user_namespace_are_taken_without_own_ones": "does not know idmap",
        "test_mounts.py::test_one_mapping_of_a_mount_without_the_other_is_refused": "ignores the mappings of mounts",
        "test_mounts.py::test_files_made_in_a_mapped_mount_belong_to_whom_it_says": "ignores the mappings of mounts",
        "test_mounts.py::test_owners_are_mapped_on_what_is_shown_or_not_at_all": "ignores the mappings of mounts",
        "test_namespaces.py::test_a_namespace_that_is_asked_for_is_new[time]": "knows no time namespaces",
        "test_namespaces.py::test_a_namespace_that_exists_is_joined[time]": "knows no time namespaces",
        "test_namespaces.py::test_clocks_are_offset": "knows no time namespaces",
        "test_namespaces.py::test_the_namespace_of_another_container_is_joined[user]": (
            "asks for mappings also where it joins"
        ),
        "test_namespaces.py::test_the_domain_name_is_the_containers": "does not know domainname",
        "test_namespaces.py::test_an_interface_moves_with_its_address_and_is_up": "does not know netDevices",
        "test_namespaces.py::test_parameters_may_name_a_moved_interface": "does not know netDevices",
        "test_namespaces.py::test_an_interface_that_is_not_there_is_an_error": "does not know netDevices",
        "test_namespaces.py::test_an_interface_needs_a_network_of_ones_own": "does not know netDevices",
        "test_notify.py::test_readiness_may_come_with_more": "looks at the first line only",
        "test_paths.py::test_a_relative_path_is_refused": "takes it as relative to the root or leaves it out",
        "test_process.py::test_a_limit_said_twice_is_refused": "takes the last one",
        "test_process.py::test_the_scheduler_is_set": "does not know process.scheduler",
        "test_process.py::test_an_unknown_scheduler_is_refused": "does not know process.scheduler",
        "test_process.py::test_the_io_priority_is_set": "does not know process.ioPriority",
        "test_process.py::test_the_personality_is_set[LINUX32-i686]": "does not know linux.personality",
        "test_process.py::test_an_unknown_personality_is_refused": "does not know linux.personality",
        "test_resources.py::test_the_burst_of_cpu_time_is_set": "does not know cpu.burst",
        "test_resources.py::test_a_container_may_have_the_cpu_only_when_it_is_idle": "does not know cpu.idle",
        "test_root.py::test_the_propagation_of_the_root_is_as_said[shared-True]": "the root becomes private",
        "test_root.py::test_an_unbindable_root_cannot_be_bound": "the root becomes private",
        "test_seccomp.py::test_what_goes_wrong_without_sockets_is_said": (
            "start succeeds first, and the container's own output has the complaint"
        ),
        "test_seccomp.py::test_a_part_that_is_required_is_missed[names]": "takes a rule for no call",
        "test_seccomp.py::test_a_part_that_is_required_is_missed[index]": "takes an index that is missing for 0",
        "test_seccomp.py::test_a_part_that_is_required_is_missed[value]": "takes a value that is missing for 0",
        "test_seccomp.py::test_a_flag_is_accepted": "knows no flags",
        "test_safety.py::test_descriptors_to_be_kept_must_be_open": "takes closed ones for open",
        "test_safety.py::test_a_pipe_in_place_of_passwd_keeps_nobody_waiting": "waits at the pipe forever",
        "test_safety.py::test_few_open_files_are_for_the_command_to_live_with": "needs more itself, and fails",
    },
}


def reason(runtime: str, nodeid: str) -> str:
    """Why a test is expected to fail under a runtime, `""` when it is not."""
    known = DIFFERENCES.get(runtime, {})
    test = nodeid.split("oci/", 1)[-1]
    return known.get(test, "") or known.get(test.partition("[")[0], "")

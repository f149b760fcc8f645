//! The switch as its users meet it: the daemon and the tools that ship, real devices, real hosts in namespaces, real clients.
//! `cargo test -p rvs-tests --test system [NAME...]`, after `cargo build --release`, as root.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod appctl;
mod applications;
mod attacks;
mod barrier;
mod bench;
mod blackbox;
mod bonds;
mod client;
mod containers;
mod controlled;
mod controllers;
mod devices;
mod differential;
mod dummies;
mod dummy;
mod dummy_flows;
mod dummy_tools;
mod faucet;
mod hostile;
mod hosts;
mod internal;
mod life;
mod managers;
mod meters;
mod metrics;
mod mininet;
mod mirrors;
mod ofctl;
mod ofctl_peer;
mod offload;
mod package;
mod perf;
mod qos;
mod refusals;
mod schema;
mod spanning;
mod stock_apps;
mod storage;
mod survive;
mod survive_changes;
mod tier0;
mod tier0_keeps;
mod tier0_tcx;
mod tier0_trouble;
mod tools;
mod trace;
mod vlans;
mod vsctl;
mod ways_out;

use std::process::ExitCode;

use rvs_tests::{harness, tests};

fn main() -> ExitCode {
    let mut all = Vec::new();
    all.extend(tests![measures = false;
        hosts::two_namespaces_talk,
        hosts::capture_sees_both_directions,
        hosts::ports_come_alive_in_any_order,
        hosts::mac_that_moves_takes_effect_at_once,
        hosts::uplink_with_an_address_is_explained,
        hosts::nothing_but_ours_is_visible,
        hosts::bridges_are_apart,
        mirrors::watcher_sees_every_frame_once,
        mirrors::selections_take_effect_at_once,
        mirrors::same_copies_as_open_vswitch,
        vlans::internal_ports_uplink_and_gateway,
        vlans::no_frame_crosses_vlans,
        vlans::veth_as_access_port_moves_at_once,
        vlans::frame_too_large_after_a_push_costs_itself_only,
        offload::dhcp_lease_is_granted,
        offload::vxlan_inside_the_hosts,
        offload::every_tunnel_inside_the_hosts,
        offload::software_fallbacks_carry_tcp,
        offload::udp_super_frames_arrive_as_datagrams,
        devices::deleted_and_made_again,
        devices::pending_until_it_appears,
        devices::renamed_away_and_back,
        devices::moved_away_and_back,
        devices::mtu_and_carrier_are_followed,
        devices::namespace_deleted_and_same_commands_again,
        devices::tap_ports,
        internal::survives_kill_and_restart,
        internal::deleted_by_its_user_is_made_again,
        internal::namespace_deleted_is_made_again,
        internal::renamed_and_readdressed_in_its_namespace,
        internal::attributes_at_birth,
        internal::mtu_follows_the_smallest_port,
        internal::foreign_device_of_that_name_is_refused,
        life::configuration_is_back_after_restart_and_kill,
        life::second_daemon_is_refused,
        life::no_privileges,
        life::clean_end,
        life::exit_with_cleanup_leaves_nothing,
        life::detached,
        life::bad_options,
        life::systemd_is_told,
        life::host_answers_again_after_kill,
        life::two_daemons_share_a_machine,
        survive::normal_flows_go_on_through_kill_and_restart,
        survive::flows_of_a_secure_bridge_wait_for_their_tables,
        survive::flow_restore_wait_is_waited_for,
        survive::without_a_daemon_forwarding_ends_in_time,
        survive::stale_flows_end_with_the_restart,
        survive::nothing_is_left_where_it_should_not,
        survive::without_a_bpf_file_system,
        survive::doctor_cleans_up_after_the_dead,
        survive_changes::a_port_that_moved_away_is_let_go,
        survive_changes::another_program_takes_over,
        survive_changes::its_file_system_is_unmounted,
        survive_changes::its_file_system_comes_late,
        survive_changes::a_controller_that_comes_back_finds_no_frame_lost,
        survive_changes::a_tree_is_grown_anew,
        storage::garbage_database,
        storage::torn_database,
        storage::full_disk,
        schema::every_column_is_kept,
        schema::what_is_ephemeral_is_not_on_disk,
        schema::status_reads_as_there,
        refusals::bridges_and_ports,
        refusals::devices_that_cannot_be_ports,
        refusals::reserved_names,
        refusals::tags,
        refusals::usage,
        refusals::daemon_not_running,
        refusals::daemon_not_answering,
        tools::stock_vsctl,
        tools::patch_ports,
        tools::fake_bridges,
        tools::stock_runtime_commands,
        tools::started_as_the_other_daemon,
        tools::monitored_through_an_upgrade,
        client::of_a_stock_server,
        dummy::frames_by_command,
        dummy::time_by_command,
        dummy_tools::messages_in_the_log,
        dummy_tools::datapaths_by_hand,
        dummy_tools::small_answers,
        dummy_tools::a_translation_that_is_given_up,
        dummy_tools::flows_in_the_other_s_words,
        dummy_tools::flows_by_hand,
        dummy::states_and_traces,
        dummy::refusals_of_traces,
        dummy_flows::flow_monitors_pause_and_resume,
        dummy_flows::debug_actions,
        dummy_flows::traces_of_datapath_flows,
        dummy::trees_by_the_clock,
        dummy::flows_in_the_log,
        dummy::traces_that_teach,
        dummy::flow_tables_are_named_and_limited_by_the_database,
        dummy::ports_swap_their_numbers,
        dummy::bridges_without_an_interface_have_an_identity,
        dummy::bundles_wait_as_long_as_the_database_says,
        dummies::ports_are_joined,
        dummies::names_are_reserved,
        dummies::queues_write_the_dscp,
        dummies::dummies_have_a_queue,
        dummies::drops_have_the_names_of_the_field,
        dummies::ports_are_counted_and_flows_chosen,
        dummies::a_second_one_takes_over,
        client::a_second_daemon_waits,
        client::over_tcp_and_tls,
        appctl::caches_are_kept_as_told,
        appctl::trace_packet_out,
        appctl::bridge_reconnect,
        appctl::what_there_is_none_of,
        appctl::coverage_has_rates,
        appctl::link_speed_and_path_cost,
        appctl::statistics_interval,
        appctl::the_daemon_holds_its_lock,
        managers::listened_for_and_dialled,
        managers::over_tls,
        managers::trouble_costs_no_time,
        managers::python_idl,
        tools::stock_appctl,
        tools::stock_tools_without_options,
        tools::every_question_has_json,
        vsctl::says_all_that_ovs_vsctl_says,
        metrics::figures_for_prometheus,
        package::installs_everything,
        package::debian_package,
        package::is_confined,
        package::runs_with_the_privileges_of_its_unit,
        package::says_which_privilege_is_missing,
        mininet::every_host_reaches_every_other,
        mininet::remote_controller,
        mininet::many_starts_and_stops,
        mininet::loops,
        spanning::with_the_bridge_of_linux,
        spanning::with_open_vswitch,
        qos::foreign_disciplines_stay,
        trace::tells_what_frames_do,
        ofctl_peer::flows_read_as_with_the_stock_tool,
        ofctl_peer::files_of_flows,
        ofctl_peer::groups_and_meters,
        ofctl_peer::packets_and_monitors,
        barrier::no_stale_packet_after_a_barrier,
        tier0::flows_move_into_the_kernel_and_are_counted_once,
        tier0::captures_see_both_directions,
        tier0::vlans_in_the_kernel,
        tier0::no_stale_packet_with_flows_in_the_kernel,
        tier0::counters_are_exact_at_removal,
        tier0::every_tier_does_the_same,
        tier0::a_mac_that_moves_leaves_the_kernel,
        tier0::ports_move_between_tiers,
        tier0::foreign_programs_keep_a_port_out,
        tier0::devices_come_and_go,
        tier0::port_counters_mean_the_same_in_every_tier,
        tier0_keeps::new_connections_of_known_hosts_never_go_up,
        tier0_keeps::rules_groups_and_addresses_live_on,
        tier0_keeps::internal_ports_take_part,
        tier0_keeps::no_socket_listens_beside_it,
        tier0_tcx::vlans,
        tier0_tcx::every_action,
        tier0_tcx::nothing_stale,
        tier0_tcx::ports_move_between_tiers,
        tier0_tcx::foreign_programs,
        tier0_tcx::devices_come_and_go,
        tier0_tcx::flows_go_on_through_kill_and_restart,
        tier0_trouble::no_memory_for_its_maps,
        tier0_trouble::a_policy_against_it,
        tier0_trouble::a_verifier_that_refuses,
        tier0_trouble::recovery_when_the_cause_is_gone,
        tier0_trouble::many_ports_move_in_slices_when_the_cause_is_gone,
        tier0_trouble::nothing_is_loaded_that_no_port_wants,
        tier0_trouble::a_program_taken_off_comes_back,
        tier0_trouble::a_drop_taken_off_comes_back_and_the_qdisc_goes,
        tier0_trouble::a_drop_lost_among_too_many_events_comes_back,
        tier0_trouble::a_device_that_goes_and_comes_back,
        tier0_trouble::a_foreign_xdp_program_keeps_a_port_out,
        tier0_trouble::clsact_vlans,
        tier0_trouble::clsact_every_action,
        tier0_trouble::clsact_nothing_stale,
        tier0_trouble::clsact_ports_move_between_tiers,
        tier0_trouble::clsact_foreign_programs,
        tier0_trouble::clsact_devices_come_and_go,
        qos::policed_ports_leave_the_kernel,
        ways_out::straight_into_the_namespace_while_nobody_looks,
        ways_out::captures_see_all_of_a_direct_port,
        ways_out::an_xdp_program_at_the_far_end_has_its_way,
        differential::random_rules_agree_with_open_vswitch,
        controllers::os_ken_1_0,
        controllers::os_ken_1_3,
        controllers::statistics_told_to_os_ken_1_5,
        controllers::test_controller,
        faucet::routes_and_access_lists,
        faucet::stack_of_two,
        bonds::one_member_at_a_time,
        containers::a_script_plugs_them_in,
        applications::groups_and_meters_of_os_ken_1_3,
        applications::groups_and_meters_of_os_ken_1_4,
        stock_apps::learning_switches,
        stock_apps::links_are_discovered,
        stock_apps::router,
        stock_apps::firewall,
        stock_apps::qos_manager,
        hostile::nobody_suffers_from_a_bad_peer,
        attacks::cve_2012_3449_nothing_is_for_everybody_to_write,
        attacks::cve_2022_49086_nested_flows_come_and_go,
        attacks::cve_2026_45840_devices_go_under_load,
        attacks::b6_a_steady_flow_stays_where_it_is,
        attacks::b9_vlans_and_bridges_change_under_new_flows,
        controlled::snoop_shows_what_is_said,
        controlled::forwards_alone_when_no_controller_answers,
        controlled::flow_commands_on_our_own_switch,
        controlled::flows_outlive_their_controller,
        bench::without_root,
        bench::ended_early,
        ofctl::descriptions,
        ofctl::flows,
        ofctl::full_tables,
        ofctl::groups_and_meters,
        ofctl::refusals,
        ofctl::rare_commands,
        ofctl::monitors,
        blackbox::fields,
        blackbox::actions,
        blackbox::tables,
        blackbox::groups,
        blackbox::errors,
        blackbox::behaviour,
        blackbox::roles,
        blackbox::switch_tests_1_0,
        blackbox::switch_tests_1_3,
        blackbox::switch_tests_1_4,
    ]);
    all.extend(tests![measures = true;
        bench::comparison,
        life::idle_costs_no_cpu,
        managers::a_hundred_monitors_cost_little,
        life::memory_at_rest,
        life::memory_of_a_burst_goes_back,
        offload::throughput_is_in_the_right_class,
        tier0::shaping_holds,
        tier0_keeps::a_full_map_costs_speed_only,
        meters::rates_hold_for_tcp_and_udp,
        meters::one_bucket_for_all_workers,
        qos::queues_shape_and_count,
        qos::policing_holds_for_tcp_and_udp,
        ways_out::shaping_starts_while_traffic_runs,
        ways_out::straight_from_the_first_flow_on,
        devices::two_hundred_ports_in_one_transaction,
        blackbox::timeouts,
        perf::where_time_goes,
        mininet::shaped_links,
        blackbox::meters,
        blackbox::meters_of_os_ken,
    ]);
    harness::run(&all)
}

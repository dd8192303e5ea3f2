use super::*;
use rumqttc::v5::MqttOptions;

/// A link without a task: connections are handed in by the test.
fn link() -> (Link, mpsc::Sender<LinkEvent>) {
    let (sender, events) = mpsc::channel(4);
    let link = Link {
        events,
        own: "furrow/1/hoa-binh/gw-01/state".parse().unwrap(),
        drop_connection: Arc::new(Notify::new()),
        connection: None,
        alias: Alias::default(),
        task: tokio::spawn(std::future::pending()),
    };
    (link, sender)
}

/// A client that is connected to nothing: what it is given stays in its queue.
fn up(generation: u64, queue: usize) -> (LinkEvent, rumqttc::v5::EventLoop) {
    let (client, event_loop) = AsyncClient::new(MqttOptions::new("c", "localhost", 1), queue);
    let topic_aliases = 1;
    let up = Up {
        generation,
        client,
        topic_aliases,
    };
    (LinkEvent::Up(up), event_loop)
}

fn packet() -> Bytes {
    Bytes::from_static(b"packet")
}

#[tokio::test]
async fn packet_ids_find_their_offers_in_order() {
    let (mut link, _sender) = link();
    let (event, _kept) = up(1, 8);
    assert_eq!(link.handle_event(event), Some(Change::Up));
    link.publish_retained(TopicKind::State, packet()).unwrap();
    link.publish_packet(OfferId(10), packet()).unwrap();
    link.publish_packet(OfferId(11), packet()).unwrap();
    for packet_id in [1, 2, 3] {
        assert_eq!(
            link.handle_event(LinkEvent::Sent {
                generation: 1,
                packet_id
            }),
            None
        );
    }
    let mut answered = |packet_id, reason| {
        link.handle_event(LinkEvent::Answered {
            generation: 1,
            packet_id,
            reason,
        })
    };
    let puback = |id, answer| {
        Some(Change::Puback(Puback {
            id: OfferId(id),
            answer,
        }))
    };
    assert_eq!(
        answered(3, PubAckReason::Success),
        puback(11, PubackAnswer::Accepted)
    );
    assert_eq!(
        answered(1, PubAckReason::Success),
        None,
        "the gateway's own"
    );
    assert_eq!(
        answered(2, PubAckReason::NotAuthorized),
        puback(10, PubackAnswer::Refused)
    );
    assert_eq!(answered(2, PubAckReason::Success), None, "a second time");
}

#[tokio::test]
async fn events_of_an_earlier_connection_change_nothing() {
    let (mut link, _sender) = link();
    let (first, _kept) = up(1, 8);
    let (second, _kept_too) = up(2, 8);
    link.handle_event(first);
    link.publish_packet(OfferId(1), packet()).unwrap();
    link.handle_event(second);
    link.publish_packet(OfferId(2), packet()).unwrap();
    assert_eq!(
        link.handle_event(LinkEvent::Sent {
            generation: 1,
            packet_id: 1
        }),
        None
    );
    assert_eq!(link.handle_event(LinkEvent::Down { generation: 1 }), None);
    assert!(link.is_up());
    link.handle_event(LinkEvent::Sent {
        generation: 2,
        packet_id: 1,
    });
    let reason = PubAckReason::Success;
    let answered = LinkEvent::Answered {
        generation: 2,
        packet_id: 1,
        reason,
    };
    let (id, answer) = (OfferId(2), PubackAnswer::Accepted);
    assert_eq!(
        link.handle_event(answered),
        Some(Change::Puback(Puback { id, answer }))
    );
    assert_eq!(
        link.handle_event(LinkEvent::Down { generation: 2 }),
        Some(Change::Down)
    );
    assert_eq!(
        link.publish_packet(OfferId(3), packet()),
        Err(PublishError::Down)
    );
}

#[tokio::test]
async fn what_is_too_long_or_too_much_is_refused_before_the_client_has_it() {
    let (mut link, _sender) = link();
    let (event, _kept) = up(1, 1);
    link.handle_event(event);
    let long = Bytes::from(vec![0; MAX_PACKET_BYTES + 1]);
    assert_eq!(
        link.publish_packet(OfferId(1), long),
        Err(PublishError::TooLong(MAX_PACKET_BYTES + 1))
    );
    link.publish_packet(OfferId(2), packet()).unwrap();
    assert_eq!(
        link.publish_packet(OfferId(3), packet()),
        Err(PublishError::Full)
    );
    let sent = Sent {
        offer: Some(OfferId(2)),
        form: Form::Defining,
    };
    assert_eq!(link.connection.unwrap().unnumbered, [sent]);
}

#[tokio::test]
async fn packets_name_their_topic_by_a_number_that_the_broker_has_confirmed() {
    let (mut link, _sender) = link();
    let mut kept = Vec::new();
    for generation in [1, 2] {
        let (event, event_loop) = up(generation, 8);
        kept.push(event_loop);
        link.handle_event(event);
        for (packet_id, form) in [(1, Form::Defining), (2, Form::Bare), (3, Form::Bare)] {
            let offer = Some(OfferId(u64::from(packet_id)));
            link.publish_packet(OfferId(u64::from(packet_id)), packet())
                .unwrap();
            let unnumbered = &link.connection.as_ref().unwrap().unnumbered;
            assert_eq!(unnumbered, &[Sent { offer, form }]);
            link.handle_event(LinkEvent::Sent {
                generation,
                packet_id,
            });
            link.handle_event(LinkEvent::Answered {
                generation,
                packet_id,
                reason: PubAckReason::Success,
            });
        }
        // What is said seldom is said in full.
        link.publish_retained(TopicKind::State, packet()).unwrap();
        let unnumbered = &link.connection.as_ref().unwrap().unnumbered;
        let (offer, form) = (None, Form::Full);
        assert_eq!(unnumbered, &[Sent { offer, form }]);
        link.handle_event(LinkEvent::Down { generation });
    }
}

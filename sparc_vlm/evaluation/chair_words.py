"""Words that name the 80 classes of COCO, for CHAIR.

Singular forms; a word of several parts is joined by '_'. Left out is what may
as well be something else: 'glass', 'computer', 'plant', 'chicken', 'couple',
'fan', and games that are called as their ball.
"""

from __future__ import annotations

COCO_WORDS: dict[str, str] = {
    'person': 'person man woman boy girl child kid baby toddler infant adult '
    'lady guy gentleman teenager teen someone somebody male female people '
    'crowd family player skier surfer skateboarder snowboarder rider '
    'biker cyclist bicyclist motorcyclist chef cook waiter waitress batter '
    'catcher umpire pedestrian passenger officer policeman soldier fireman '
    'worker spectator bride groom mother father mom dad student teacher '
    'cowboy sailor fisherman swimmer vendor shopper commuter tourist',
    'bicycle': 'bicycle bike mountain_bike road_bike tricycle',
    'car': 'car automobile suv sedan taxi cab taxi_cab minivan jeep '
    'race_car police_car sports_car convertible hatchback station_wagon',
    'motorcycle': 'motorcycle motorbike motor_bike dirt_bike moped '
    'motor_scooter motor_cycle vespa',
    'airplane': 'airplane plane air_plane aeroplane jet jet_plane airliner '
    'jetliner aircraft biplane fighter_jet seaplane propeller_plane',
    'bus': 'bus minibus double_decker school_bus tour_bus',
    'train': 'train locomotive tram train_car train_engine steam_engine '
    'subway_car passenger_car box_car rail_car train_carriage',
    'truck': 'truck pickup pick_up_truck pickup_truck lorry fire_engine '
    'fire_truck firetruck tow_truck semi dump_truck garbage_truck',
    'boat': 'boat ship sailboat sail_boat canoe kayak ferry yacht rowboat '
    'row_boat motor_boat motorboat speedboat tugboat tug_boat gondola barge '
    'dinghy fishing_boat house_boat houseboat',
    'traffic light': 'traffic_light stoplight stop_light traffic_signal '
    'street_signal signal_light',
    'fire hydrant': 'fire_hydrant hydrant fire_plug',
    'stop sign': 'stop_sign stopsign',
    'parking meter': 'parking_meter',
    'bench': 'bench park_bench pew',
    'bird': 'bird duck goose duckling gosling seagull sea_gull gull pigeon '
    'parrot owl penguin swan hawk eagle rooster hen peacock crow robin '
    'flamingo ostrich pelican hummingbird sparrow finch dove heron stork '
    'parakeet cockatoo vulture raven',
    'cat': 'cat kitten kitty tabby',
    'dog': 'dog puppy pup bulldog poodle dachshund labrador retriever '
    'terrier chihuahua husky corgi beagle dalmatian collie sheepdog '
    'bull_dog sheep_dog german_shepherd greyhound pug spaniel',
    'horse': 'horse pony foal mare stallion colt',
    'sheep': 'sheep lamb ewe ram',
    'cow': 'cow cattle bull calf ox heifer bison',
    'elephant': 'elephant',
    'bear': 'bear polar_bear grizzly_bear grizzly bear_cub brown_bear '
    'black_bear panda panda_bear',
    'zebra': 'zebra',
    'giraffe': 'giraffe',
    'backpack': 'backpack back_pack knapsack rucksack',
    'umbrella': 'umbrella parasol',
    'handbag': 'handbag hand_bag purse pocketbook shoulder_bag',
    'tie': 'tie necktie neck_tie bowtie bow_tie',
    'suitcase': 'suitcase suit_case luggage briefcase suite_case',
    'frisbee': 'frisbee flying_disc flying_disk frisby',
    'skis': 'ski snow_ski',
    'snowboard': 'snowboard snow_board',
    'sports ball': 'ball soccer_ball tennis_ball beach_ball base_ball '
    'soccerball volley_ball basket_ball foot_ball sports_ball',
    'kite': 'kite',
    'baseball bat': 'baseball_bat bat base_ball_bat',
    'baseball glove': "baseball_glove baseball_mitt mitt catcher_'s_mitt "
    "catcher_'s_glove catchers_mitt base_ball_glove base_ball_mitt",
    'skateboard': 'skateboard skate_board longboard',
    'surfboard': 'surfboard surf_board',
    'tennis racket': 'tennis_racket tennis_racquet racket racquet',
    'bottle': 'bottle wine_bottle beer_bottle water_bottle',
    'wine glass': 'wine_glass wineglass glass_of_wine glasses_of_wine goblet',
    'cup': 'cup mug coffee_cup tea_cup teacup coffee_mug',
    'fork': 'fork',
    'knife': 'knife butter_knife',
    'spoon': 'spoon teaspoon tablespoon',
    'bowl': 'bowl',
    'banana': 'banana',
    'apple': 'apple',
    'sandwich': 'sandwich burger hamburger cheeseburger panini sub_sandwich',
    'orange': 'orange tangerine clementine mandarin',
    'broccoli': 'broccoli brocolli brocoli',
    'carrot': 'carrot',
    'hot dog': 'hot_dog hotdog chili_dog corn_dog',
    'pizza': 'pizza pizza_pie',
    'donut': 'donut doughnut do_nut',
    'cake': 'cake cupcake cup_cake cheesecake birthday_cake wedding_cake '
    'carrot_cake',
    'chair': 'chair armchair arm_chair stool rocking_chair recliner '
    'high_chair lawn_chair beach_chair office_chair',
    'couch': 'couch sofa loveseat love_seat settee futon',
    'potted plant': 'potted_plant houseplant house_plant flowerpot '
    'flower_pot potted_flower potted_tree pot_plant',
    'bed': 'bed bunk_bed mattress cot',
    'dining table': 'dining_table table dinner_table kitchen_table '
    'picnic_table coffee_table',
    'toilet': 'toilet urinal commode toilet_bowl toilet_seat',
    'tv': 'tv television television_set tv_set monitor computer_monitor '
    'computer_screen tv_screen television_screen t.v.',
    'laptop': 'laptop laptop_computer notebook_computer macbook lap_top',
    'mouse': 'mouse computer_mouse',
    'remote': 'remote remote_control wii_remote wiimote game_controller '
    'wii_controller video_game_controller controller',
    'keyboard': 'keyboard computer_keyboard key_board',
    'cell phone': 'cell_phone cellphone phone smartphone smart_phone '
    'mobile_phone telephone iphone cellular_phone',
    'microwave': 'microwave microwave_oven',
    'oven': 'oven stove stove_top_oven stovetop',
    'toaster': 'toaster toaster_oven',
    'sink': 'sink washbasin wash_basin basin',
    'refrigerator': 'refrigerator fridge freezer',
    'book': 'book',
    'clock': 'clock alarm_clock clock_tower clocktower',
    'vase': 'vase',
    'scissors': 'scissor shear pair_of_scissors',
    'teddy bear': 'teddy_bear teddy stuffed_bear stuffed_teddy_bear '
    'toy_bear teddybear',
    'hair drier': 'hair_drier hair_dryer hairdryer blow_dryer blow_drier '
    'hairdrier',
    'toothbrush': 'toothbrush tooth_brush',
}
NO_OBJECTS = (
    'family_of families_of crowd_of crowds_of family_room baby_carriage '
    'baby_stroller base_ball_game base_ball_field base_ball_player flat_bed '
    'remote_area remote_mountain remote_location jet_ski '
    'wheel_chair ski_board laptop_keyboard bus_stop bus_station bus_lane '
    'bus_driver train_station train_track '
    'train_yard train_conductor toy_train truck_driver truck_bed toy_truck '
    'toy_car toy_boat toy_airplane model_airplane model_train car_seat '
    'car_park car_door car_window cable_car horse_shoe horse_trailer '
    'dog_house dog_food dog_bed dog_bowl cat_food cat_bed cat_tree '
    'bird_cage bird_house bird_feeder bird_bath bird_seed boat_dock '
    'boat_ramp airplane_hangar plane_ticket bike_rack bike_path bike_lane '
    'bike_trail motorcycle_helmet bicycle_rack ski_slope ski_lift ski_resort '
    'ski_pole ski_jump ski_trail ski_mask ski_gear ski_suit ski_boot ski_run '
    'ski_rack ski_lodge ski_area ski_hill ski_course ski_jacket ski_goggle '
    'table_tennis table_cloth table_top pool_table book_shelf book_case '
    'book_bag book_store cup_holder knife_block bottle_opener phone_booth '
    'telephone_pole phone_pole telephone_booth orange_juice apple_juice '
    'apple_pie apple_sauce banana_bread banana_split banana_tree apple_tree '
    'orange_tree cake_pan cake_plate cake_stand '
    'pizza_box pizza_cutter pizza_pan pizza_place pizza_shop pizza_parlor '
    'pizza_oven pizza_dough donut_shop sandwich_shop bear_hug bed_spread '
    'bed_sheet flower_bed bed_of_flower bed_of_lettuce bed_of_rice '
    'toilet_paper toilet_brush toilet_paper_roll ball_park ball_field '
    'ball_game ball_player tie_dye kite_surfer kite_surfing '
    'kite_boarding surfboard_rack umbrella_stand chair_lift sheep_skin '
    'cow_boy cow_girl zebra_crossing zebra_print elephant_statue '
    'horse_statue bear_statue dog_statue tv_stand '
    'television_stand tv_show computer_desk mouse_pad mousepad '
    'mouse_trap oven_mitt '
    'refrigerator_magnet fridge_magnet'
).split()
"""Double words that name another thing than their parts do, or none.

A microwave's oven, a hot dog's dog and a toy's train need no line of their
own where the longer word is in `COCO_WORDS`: the longest that fits is taken.
"""
_FIRST = 'adult mother father male'.split()
_SECOND = 'baby a_baby young a_young female a_female'.split()
TELLING = {
    **dict.fromkeys(
        'bird cat dog horse sheep cow elephant bear zebra giraffe'.split(),
        ' '.join(
            [
                *'baby adult mother father male female'.split(),
                *(f'{a}_and_{b}' for a in _FIRST for b in _SECOND),
                *(f'{a}s_and_{b}' for a in _FIRST for b in _SECOND),
            ]
        ),
    ),
    **dict.fromkeys('bus train airplane boat'.split(), 'passenger'),
}
"""Words for people that, before a word of a class, only tell which: 'a baby
elephant' and 'a mother and baby elephant' are no persons."""
IRREGULAR = {
    'man': 'men',
    'woman': 'women',
    'child': 'children',
    'person': 'persons',
    'gentleman': 'gentlemen',
    'policeman': 'policemen',
    'fireman': 'firemen',
    'fisherman': 'fishermen',
    'goose': 'geese',
    'mouse': 'mice',
    'calf': 'calves',
    'ox': 'oxen',
    'knife': 'knives',
    'sheep': 'sheep',
    'people': 'peoples',
    'scissor': 'scissors',
    'ski': 'skis',
}
"""Plurals that no rule gives."""
COLOURS = ('orange',)
"""Things that are colours as well: taken for things only where nothing that
they could colour follows."""
